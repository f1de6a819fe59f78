"""Try it: staff show photographs to the gateway, as any client does, and read its answer.

Nothing of a photograph is kept here, neither on disk nor in the database, and none is
decoded: the gateway does that in its own processes, and the browser shows the files that it
has. What remains is the gateway's event, without the photograph.
"""
