"""The console: where people manage model versions, clients, reviews and the audit trail.

The control plane of Amulet: Django with its admin, a REST interface and Celery tasks. It
serves no prediction. The gateway pulls its policy from here and pushes its events to here,
and goes on answering when nobody is at home. Floors, from the ground up: audit, vault,
torchserve, staff · predictions, registry, clients · rollout, review · ingest · site.
"""
