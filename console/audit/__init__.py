"""The audit trail: what happened, by whom, in a chain that nobody can rewrite unnoticed.

    chain       what one entry commits to, byte by byte
    merkle      the tree over the entries, kept as a few hashes
    notes       signed checkpoints of that tree (C2SP tlog-checkpoint)
    verifier    checks an export with a public key and nothing else
    receipt     checks the proof that a signed checkpoint covers one entry
    services    append; erase a payload and leave the chain whole
    signer      signs checkpoints, in a process of its own

Every writer appends inside its own transaction: an act and its entry are both there or both
not. The first five modules and `commands` need no Django and no database. This app never
knows what the other apps' entries mean.
"""
