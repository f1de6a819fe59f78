"""Procedural photographs for demonstrations and tests: clay and metal tablets that nobody owns.

`moulds` says what the tablets, coins and other things look like, `renderer` turns one into
a photograph, `photographs` writes a data set of them. Never imports the learning side.
"""
