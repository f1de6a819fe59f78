"""Data subjects, their consents, their keys, and what is kept of them under those keys.

    models      subjects (no names, no pseudonyms), consents, kept objects
    cipher      keys from keys; every sealing and opening, as pure functions
    key_file    the master key's file, as it is now; how it is changed
    awaited_keys  master keys that a running process lacks
    rotation    people's keys from one master key to the next
    storage     encrypted bytes on disk, by random id
    services    give and withdraw consent; keep, open and erase

A subject's pseudonym is stored nowhere: a keyed hash finds the subject, and erasing the
subject removes that too. Deleting an object's row is enough to make its bytes unreadable.
This app never looks at a photograph and knows no predictions, only their ids.
"""
