"""Folders of photographs: read, checked, grouped and divided.

`folder` says what a data set is, `duplicates` which photographs are one photograph,
`splits` who may learn from which, `check` what a person should look at first. Never
changes a photograph, and knows nothing of models.
"""
