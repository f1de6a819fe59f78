"""Alert rules and the dashboard: promtool takes them, and every name in them is one that a process exports."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pages import ROOT
from tests.unit.gateway.cast import photo, policy, running_gateway

PROMETHEUS = ROOT / "deploy/prometheus"
DASHBOARD = ROOT / "deploy/grafana/amulet.json"
PAGE = ROOT / "docs/operators/monitoring.md"
_IN_MAKEFILE = ROOT / ".venv/promtool/usr/bin/promtool"
PROMTOOL = str(_IN_MAKEFILE) if _IN_MAKEFILE.exists() else shutil.which("promtool")
# What Grafana puts in place of its variables.
VARIABLES = {"$__rate_interval": "1m", "$instance": ".*"}

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="no promtool: install the package prometheus")


def promtool(*arguments: str, folder: Path = PROMETHEUS) -> str:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def shown() -> list[str]:
    """Every expression of the dashboard, as Prometheus gets it."""
    board = json.loads(DASHBOARD.read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    expressions += [each["expr"] for each in board["annotations"]["list"]]
    for name, value in VARIABLES.items():
        expressions = [expression.replace(name, value) for expression in expressions]
    return expressions


@needs_promtool
def test_promtool_takes_the_rules_and_each_alert_fires_for_its_cause_and_for_nothing_else() -> None:
    promtool("check", "config", "prometheus.yml")
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


@needs_promtool
def test_prometheus_understands_what_the_dashboard_asks(tmp_path: Path) -> None:
    rules = [{"record": f"shown:{number}", "expr": expression} for number, expression in enumerate(shown())]
    file = tmp_path / "shown.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))

    assert f"{len(rules)} rules found" in promtool("check", "rules", str(file))


def test_the_page_names_each_job_that_is_to_be_copied() -> None:
    jobs = [each["job_name"] for each in yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]]
    row = next(line for line in PAGE.read_text().splitlines() if "prometheus.yml" in line)

    assert re.findall(r"`(amulet-\w+)`", row) == jobs


async def test_every_metric_of_alerts_and_dashboard_is_one_that_gateway_or_console_exports(tmp_path: Path) -> None:
    asked = [*shown(), *(rule["expr"] for rule in alerts())]
    named = {name for expression in asked for name in re.findall(r"\bamulet_\w+", expression)}

    async with running_gateway(tmp_path, policy=policy()) as gateway:
        await gateway.predict(photo())
        stream = gateway.stub.PredictStream(iter([]), metadata=gateway.key.metadata)
        assert [result async for result in stream] == []
        _, page = await gateway.page("/metrics")

    exported = set(re.findall(r"^(amulet_\w+)", page, re.MULTILINE))
    assert len(named) > 15
    # The console's are tested where they are made; here it is enough that one of its collectors has the name.
    collectors = "".join(file.read_text() for file in (ROOT / "console").glob("*/metrics.py"))
    assert named - exported <= set(re.findall(r'"(amulet_\w+)"', collectors))


def test_every_alert_says_what_to_do() -> None:
    headings = re.findall(r"^## (\w+)$", PAGE.read_text(), re.MULTILINE)

    assert headings == ["Traces", *(rule["alert"] for rule in alerts())]
    assert {rule["labels"]["severity"] for rule in alerts()} == {"page", "ticket"}
