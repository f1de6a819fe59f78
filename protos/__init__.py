"""The wire contracts of Amulet, their generated stubs, and the vocabulary that all processes share.

Imports nothing of ours. The `.proto` files are the source; `python -m protos.generate`
renews the stubs beside them (decision 0001).
"""
