"""From a folder of labelled photographs to one signed archive.

A photograph walks down the rooms: data, augmentation, models, fitting, calibration, ood,
explanation, evaluation, export. Never serves, never talks to a server.
"""
