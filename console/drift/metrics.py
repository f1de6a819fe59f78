"""What Prometheus reads about drift: the newest comparisons, with statistic, p and n."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from console.drift import queries
from console.drift.models import EVERYBODY, Finding, Outcome

_LABELS: Final = ("model", "version", "against", "measure")
_FAMILIES: Final = {
    "amulet_drift_statistic": ("Distance between two distributions, or chi-square of their shares.", "statistic"),
    "amulet_drift_effect_ratio": ("Distance that is left when the sketches' error is taken off.", "effect"),
    "amulet_drift_psi": ("Population stability index.", "psi"),
    "amulet_drift_p_value": ("Probability of such a distance without any drift.", "p"),
    "amulet_drift_q_value": ("The same, corrected for the number of measures.", "q"),
    "amulet_drift_samples": ("Predictions in the window.", "n_window"),
}


class Findings(Collector):
    """Reads the database when it is asked: one query."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        rows: list[Finding] = list(queries.findings().filter(client=EVERYBODY))  # alerts of clients: webhooks
        for name, (text, column) in _FAMILIES.items():
            family = GaugeMetricFamily(name, text, labels=_LABELS)
            for row in rows:
                family.add_metric([row.model, row.version, row.against, row.measure], getattr(row, column))
            yield family
        alert = GaugeMetricFamily("amulet_drift_alert", "1: an alert is open.", labels=_LABELS)
        for row in rows:
            alert.add_metric([row.model, row.version, row.against, row.measure], float(row.outcome == Outcome.DRIFT))
        yield alert
