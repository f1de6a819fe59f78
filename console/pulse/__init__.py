"""Whether the other processes are alive: each says so to the database now and then, and pages read it there.

A page that asked every process itself would be as slow as the slowest of them, and the worker
and the reconciler have no door to knock at.
"""
