"""`amulet doctor`: what is wrong with this machine's set-up, and how to mend it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import click

from cli import supervision
from cli.checks.copies import copies
from cli.checks.dates import dates
from cli.checks.delivery import delivery
from cli.checks.environment import environment as environment_checks
from cli.checks.files import files, loose
from cli.checks.finding import Finding
from cli.checks.holdings import holdings
from cli.checks.machine import machine
from cli.checks.servers import servers
from cli.checks.settings import settings
from cli.checks.storage import storage
from cli.checks.vault import vault
from cli.layout import PORT_OFFSET_MAX, Layout
from cli.stack import state_option


@click.command(epilog="Example: amulet doctor --json")
@state_option
@click.option(
    "--port-offset", type=click.IntRange(0, PORT_OFFSET_MAX), help="Added to every port.  [default: as last time]"
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def doctor(state: Path, port_offset: int | None, as_json: bool) -> int:
    """Look at everything that a stack needs from this machine; exit 1 when something is missing."""
    findings = []
    for finding in examine(Layout.of(state, port_offset).settled(os.environ), os.environ):
        findings.append(finding)
        if not as_json:
            click.echo(f"{'✓' if finding.ok else '✗'} {finding.check}: {finding.found}")
            if not finding.ok:
                click.echo(f"    {finding.mend}")
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False))
    return 0 if all(finding.ok for finding in findings) else 1


def examine(layout: Layout, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Each check once, what stops everything first."""
    yield from environment_checks()
    found = list(settings(layout, environment))
    yield from found
    if all(finding.ok for finding in found):
        yield from files(layout, environment)
        yield from loose(layout, environment)
    yield from machine(layout)
    yield from holdings(layout, environment)
    yield from servers(environment)
    yield from storage(supervision.environment(layout, environment))
    yield copies(layout, supervision.environment(layout, environment))
    if all(finding.ok for finding in found):
        yield delivery(layout, environment)
        yield dates(layout, environment)
        yield vault(layout, environment)
