"""From a folder of labelled photographs to one signed archive.

A photograph walks up the rooms, each of which imports only those before it (pyproject.toml holds them to that): data,
augmentation, models and calibration; ood; fitting, and served, a model that is asked; explanation; evaluation; export;
pipeline, which goes that whole way; experiments; synthetic; commands. Never serves, never talks to a server.
"""
