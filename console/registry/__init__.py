"""Model versions: how an archive comes in, is checked, tried and approved."""
