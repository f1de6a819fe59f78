"""Is this process alive, can it work, and what does it count."""

from __future__ import annotations

from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from console.drift.metrics import Findings
from console.rollout.metrics import Guardrails
from console.vault.queries import awaited_key_complaint


@require_safe
def alive(request: HttpRequest) -> HttpResponse:
    """200 while the process answers at all."""
    return JsonResponse({"status": "ok"})


@require_safe
def ready(request: HttpRequest) -> HttpResponse:
    """200 when the database answers and is migrated, and no event waits here for a master key that this process lacks;
    else 503 with what is missing. What it no longer waits for is said beside the 200.
    """
    try:
        executor = MigrationExecutor(connection)
        waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except Exception as error:  # the database's driver decides what it raises
        return JsonResponse({"status": "not ready", "database": type(error).__name__}, status=503)
    if waiting:
        return JsonResponse({"status": "not ready", "database": f"{len(waiting)} migrations are missing"}, status=503)
    said, waits = awaited_key_complaint()
    if waits:  # who balances between several finds one that has it
        return JsonResponse({"status": "not ready", "database": "ok", "vault": said}, status=503)
    return JsonResponse({"status": "ready", "database": "ok"} | ({"vault": said} if said else {}))


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """What Prometheus reads."""
    stored = CollectorRegistry()
    for collector in (Findings(), Guardrails()):
        stored.register(collector)
    return HttpResponse(generate_latest() + generate_latest(stored), content_type=CONTENT_TYPE_LATEST)
