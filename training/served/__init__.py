"""A model as it is served: opened from a run, an archive or a graph, asked, and what its files tell of it.

Nothing here knows how a model was fitted or how good it is.
"""
