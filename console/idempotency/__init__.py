"""A POST that is sent again because nobody knows whether it arrived: done once, answered twice.

The header `Idempotency-Key` names the call. Within a day the same key with the same call gets the first
answer again; with another call it is refused.
"""
