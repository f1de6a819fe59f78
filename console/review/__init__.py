"""Expert review: the queue of predictions that a person should look at, and what that person decides.

    models      items, why they are in the queue, and decisions
    accuracy    how often a version is right, although the queue prefers hard cases
    agreement   how far experts agree with the model and with each other
    figures     how a person's own reviews went, and how far each two people agree
    figures_api how reviewing goes, for scripts
    queries     the queue, its counts, what an expert needs to see of one item
    services    put into the queue, take for review, decide, put back

An expert's decision never changes a prediction: it stands beside it, and is what counts.
"""
