"""What Prometheus reads about guardrails: those that fired and that nobody has taken note of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from console.rollout import queries


class Guardrails(Collector):
    """Reads the database when it is asked: one query along the index of the unseen."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        unseen = Counter(queries.unseen().values_list("route__model", "route__version__version", "route__mode", "rule"))
        family = GaugeMetricFamily(
            "amulet_guardrails_unseen",
            "Guardrails that ended a route and that nobody has taken note of.",
            labels=("model", "version", "mode", "rule"),
        )
        for labels, count in sorted(unseen.items()):
            family.add_metric(labels, float(count))
        yield family
