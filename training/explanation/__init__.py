"""Where in a photograph the evidence for a class lies."""
