"""Drift: whether what a version sees and says is still what it was measured on, and what it was a week ago.

    measures     what is taken from a prediction: numbers and choices, nobody's
    statistics   comparing two distributions, as pure functions
    services     ingest adds; the beat folds into sketches a day and an hour long, compares, alerts
    plots        two distributions as SVG
    course       a measure day by day
    moved        the photographs in the part that grew
    finding_page what the page of one finding shows
    performance  how right a version is, from its confidence and from reviews, as pure functions
    expectations what that is estimated from: tallies and decisions
    names        what measures are called
    api          findings and expected accuracy for scripts
    metrics      what Prometheus reads

Distributions are mergeable sketches: what a report costs does not depend on how much there was,
or for how long. No prediction can be told from them.
"""
