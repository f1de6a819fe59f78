"""Other photographs of the same object, drawn from one: what a camera, a hand and a table vary.

Nothing here knows labels; every function takes its randomness as an argument.
"""
