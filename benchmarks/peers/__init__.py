"""The same graph behind other servers, as plainly as each of them is meant to be used.

Runs in `.venv/peers`, which has none of ours: what they share is `graph`, beside them.
"""
