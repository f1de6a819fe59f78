"""What models answered, and what callers said about it later.

    models      predictions and feedback
    detail      the parts of a prediction that no list is filtered by, typed
    queries     lists by time, whose cost does not grow with history
    services    apply predictions and feedback that gateways reported
    overlay     a heat map as a picture that lies over the photograph

Photographs and heat maps are in the vault, under the consent of the person behind them.
"""
