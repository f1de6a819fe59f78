"""The verbs from a folder of photographs to an archive, thin: read what was asked, call one room, print the outcome.

The modules that do the work import torch, which takes seconds: here they are imported where they are called, so that
`--help` need not wait. The verbs of experiments and of synthetic photographs lie in the rooms of those.
"""
