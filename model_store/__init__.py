"""What a model archive is: its card, members, graph rules, signature and verification.

For everyone who makes, checks or stores one. Never trains, never serves, never talks to a
server. The archives themselves lie in `archives/`, outside git.
"""
