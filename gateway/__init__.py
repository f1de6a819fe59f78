"""The gRPC front door: a photograph walks in, a verdict that is already on disk walks out.

It keeps answering while the console is away: what it needs to know is a policy snapshot
that it pulls and keeps (`policy`), what the console needs to know is a journal that it
ships (`journal`). It never talks to the console's database, never decodes a photograph in
its own process and never keeps one in the clear.
"""
