"""The programs that may ask for predictions, and their keys."""
