"""Labelled photographs out: what experts decided, as a folder that `amulet train` takes, and what became of it.

    models      data sets and the labels in them
    queries     a data set's versions, and what a version learnt from
    services    export: decisions, consents and photographs become files
    proposals   when a model should learn anew

A data set is one export. Its photographs are kept nowhere but in the vault; what stays here is which they
were, whose decision each label is, and the fingerprint by which a version's card names what it learnt from.
"""
