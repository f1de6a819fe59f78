"""Probabilities that mean what they say, fitted on photographs that nothing else sees."""
