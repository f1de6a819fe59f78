"""The `amulet` command line: one door to every plane.

Each command's work lives in the plane that it concerns and is imported only when the
command is called; here is only what no plane owns: the local stack, its first set-up, and
the commands that talk to a gateway or a console as any client would.
"""
