"""How good a model is, said with intervals and with the photographs that it was measured on."""
