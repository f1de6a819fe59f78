"""Photographs that nobody took: made, judged against real ones, reviewed by experts, kept or discarded class by class.

What is reported is always measured on real photographs; a synthetic one never stands in for a
real one in a test part, nor beside its own original.
"""
