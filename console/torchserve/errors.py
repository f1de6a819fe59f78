"""What can go wrong between the console and TorchServe.

BackendError
├── BackendAway       nobody answers, or not in time: TorchServe starts, restarts or is gone
├── BackendRefused    TorchServe answers that it will not
└── WantedUnknown     what it should hold cannot be told now
"""

from __future__ import annotations


class BackendError(Exception):
    """TorchServe did not do what was asked."""


class BackendAway(BackendError):
    """Nobody answers at its address, or not in time. Worth another try."""


class BackendRefused(BackendError):
    """TorchServe answered that it will not, with its reason. The same call will fail again."""


class WantedUnknown(BackendError):
    """What TorchServe should hold cannot be told now, so nothing about it is changed."""
