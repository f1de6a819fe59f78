"""Where Django looks for this app's pages: each kind has a file of its own."""

from __future__ import annotations

from console.rollout.experiment_admin import ExperimentAdmin
from console.rollout.route_admin import RouteAdmin
from console.rollout.version_admin import ModelVersionAdmin

__all__ = ["ExperimentAdmin", "ModelVersionAdmin", "RouteAdmin"]
