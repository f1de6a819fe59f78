"""The top floor of the console: settings, addresses, roles, the home page and the error borders.

Binds the apps together and holds no data of its own.
"""
