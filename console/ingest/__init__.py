"""Ingest: what gateways report becomes records, audit entries and work for reviewers, each event exactly once.

    body        the request's bytes, within limits
    reading     an Event of the wire becomes a typed event, or a sentence why not
    retention   which photographs may be kept, and keeping them
    services    an event's life, in one function
    views       POST /internal/events

It stands above the apps that it binds together and holds nothing but the ids of what it applied.
"""
