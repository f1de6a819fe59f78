"""Which version answers whom, and the policy snapshot that tells the gateway."""
