"""The one door to TorchServe's management API, and what keeps it as it should be."""
