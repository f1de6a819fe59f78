"""Callers that are not ours, each in an environment of its own: `make callers` builds it.

Their packages ask for other versions than our lock holds, and tritonclient registers
messages under the names that ours have, so that one process cannot hold both.
"""
