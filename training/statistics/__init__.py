"""The mathematics that several rooms measure with: figures, how sure they are, and how rows differ.

Pure functions on arrays: nothing here knows photographs, networks or files.
"""
