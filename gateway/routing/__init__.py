"""Which version answers: weights, stickiness, and shadows that watch without being heard."""
