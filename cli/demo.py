"""`amulet demo`: the whole product once, as its users would do it, each step one command.

Every step calls the `amulet` command in a process of its own and goes on with what that
prints, so the demonstration shows nothing that a person could not type. What an earlier run
left in the state folder is used again, wherever that run ended: each step looks for its
result first, and a result is there whole or not at all. `--check` looks at each result
through the public interfaces and stops everything at the end.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import click

from cli import supervision
from cli.checks.machine import taken_ports
from cli.connection import console_connection
from cli.doctor import examine
from cli.layout import PORT_OFFSET_MAX, Layout, Ports
from cli.provision import write_once
from cli.stack import hold, interruptible, interrupts, state_option, stop

SEED: Final = 7
PER_CLASS: Final = 24
MODEL: Final = "tablets"
STAFF: Final = (("engineer", "model-engineer"), ("approver", "approver"), ("admin", "administrator"))
ARRIVAL_S_MAX: Final = 60.0
POLL_S: Final = 0.25
OFFSET_STEP: Final = 100
NAMESAKES_MAX: Final = 10
# What may be wrong with a machine on which the demonstration can still be tried.
ADVICE: Final = frozenset({"packages", "memory", "clock", "processes", "address space", "file size"})
# What the commands call a thing while they make it; a kill leaves it behind.
HALF_MADE: Final = (".photos-*", ".run-*", f".{MODEL}.mar-*")


@dataclass(slots=True)
class Checks:
    """What was looked at and how it stood; printed as it happens."""

    failures: list[str] = field(default_factory=list)

    def expect(self, holds: bool, claim: str) -> None:
        click.echo(f"    {'✓' if holds else '✗'} {claim}")
        if not holds:
            self.failures.append(claim)


@click.command(epilog="Example: amulet demo --state .demo --check")
@state_option
@click.option("--check", is_flag=True, help="Verify every step's result, stop everything, and exit 0 or 1.")
@click.option(
    "--port-offset",
    type=click.IntRange(0, PORT_OFFSET_MAX),
    help="Added to every port.  [default: as last time, or where ports are free]",
)
def demo(state: Path, check: bool, port_offset: int | None) -> int:
    """Train, sign, serve, approve, roll out and predict on this machine."""
    layout = _layout(state, port_offset)
    lacking = [finding for finding in examine(layout, os.environ) if not finding.ok]
    for finding in lacking:
        click.echo(f"{finding.check}: {finding.found} ({finding.mend})", err=True)
    if any(finding.check not in ADVICE for finding in lacking):
        raise click.ClickException("this machine lacks what the lines above name: `amulet doctor` looks again")
    _tidy(layout)
    checks = Checks()
    started_at = time.monotonic()
    with interruptible():
        archive = _make_archive(layout, checks)
        try:
            _step("TorchServe, gateway, console and its workers")
            _amulet(layout, "up", "--detach", "--port-offset", str(layout.ports.offset))
            staff = _staff(layout)
            _roll_out(layout, archive, staff, checks)
            _predict(layout, staff, checks)
            _look_back(layout, staff, checks)
        except BaseException:
            click.echo("Stopping what was started …", err=True)
            with interrupts():
                stop(layout)
            raise
    click.echo(f"\nEverything took {time.monotonic() - started_at:.0f} s.")
    if check:
        stop(layout)
        checks.expect(not json.loads(_amulet(layout, "status", "--json", may_fail=True))["processes"], "all is stopped")
        for failure in checks.failures:
            click.echo(f"FAILED: {failure}", err=True)
        return 1 if checks.failures else 0
    click.echo("\n" + "\n".join(what_next(layout, staff["admin"])))
    hold(layout)
    return 0


def what_next(layout: Layout, admin: Mapping[str, str]) -> Iterator[str]:
    """Where a person goes on who has just seen it work: to the console, and with a photograph of their own."""
    yield f"Console: {layout.console_url}/admin/   user: admin   password: {admin['password']}"
    yield f"Second factor: {admin['otpauth_url']}"
    yield "A photograph of your own, in another terminal (. .venv/bin/activate):"
    variable = f"AMULET_API_KEY_FILE={shlex.quote(str(_key_file(layout)))}"
    yield f"  {variable} amulet predict --state {shlex.quote(str(layout.state))} PHOTO.jpg"


def _key_file(layout: Layout) -> Path:
    return layout.secrets / "demo_api_key"


def _layout(state: Path, port_offset: int | None) -> Layout:
    """The stack of the demonstration: where it runs, as it was told, or on the first ports that are free."""
    layout = Layout.of(state, port_offset)
    if supervision.pid(layout) is None:
        layout = layout.settled(os.environ)
    if port_offset is not None or supervision.pid(layout) is not None or not taken_ports(layout):
        return layout
    for offset in range(0, PORT_OFFSET_MAX, OFFSET_STEP):
        other = replace(layout, ports=Ports(offset))
        if not taken_ports(other):
            click.echo(f"Ports of this machine are taken: this stack's are moved by {offset}.", err=True)
            return other
    return layout


def _tidy(layout: Layout) -> None:
    """Make the folder, and remove what an earlier run was killed over: half-made things have names of their own."""
    layout.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    for pattern in HALF_MADE:
        for leftover in layout.state.glob(pattern):
            shutil.rmtree(leftover, ignore_errors=True)


def _make_archive(layout: Layout, checks: Checks) -> Path:
    photos, run = layout.state / "photos", layout.state / "run"
    key, archive = layout.state / "signing.key", layout.state / f"{MODEL}.mar"
    public = key.with_name(f"{key.name}.pub")
    _step("Demonstration photographs")
    if not photos.exists():
        _amulet(layout, "data", "demo", "--out", str(photos), "--seed", str(SEED), "--per-class", str(PER_CLASS))
    classes = sorted(path.name for path in photos.iterdir() if path.is_dir() and path.name != "ood")
    checks.expect(len(classes) >= 6, f"{len(classes)} classes of photographs, and things that are none of them")
    _step("Training")
    if not (run / "model.json").exists():
        _amulet(
            layout, "train", str(photos), "--ood", str(photos / "ood"), "--out", str(run), "--name", MODEL,
            "--thumbnails", "--seed", str(SEED),
        )  # fmt: skip
    card = json.loads((run / "model.json").read_text())
    checks.expect({each["id"] for each in card["classes"]} == set(classes), f"{card['version']} knows every class")
    _step("A signed archive")
    if not (key.exists() and public.exists()):
        for stale in (key, public, archive):  # what a lost key signed is of no use
            stale.unlink(missing_ok=True)
        _amulet(layout, "signing-key", "create", "--out", str(key))
    if not archive.exists() or archive.stat().st_mtime < (run / "model.json").stat().st_mtime:
        _amulet(layout, "package", str(run), "--out", str(archive), "--sign", str(key))
    layout.trusted.mkdir(parents=True, exist_ok=True)
    write_once(
        layout.trusted / f"demo-{hashlib.sha256(public.read_bytes()).hexdigest()[:12]}.pem",
        public.read_bytes(),
        mode=0o644,
    )
    report = json.loads(_amulet(layout, "verify", str(archive), "--trust", str(public), "--json", may_fail=True))
    checks.expect(report["accepted"], f"every one of {len(report['rules'])} rules passed")
    if not report["accepted"]:
        refused = "; ".join(rule["message"] for rule in report["rules"] if not rule["passed"])
        raise click.ClickException(
            f"{archive} is refused ({refused}): what stands in {layout.state} is of another version of Amulet; "
            f"remove that folder and start again"
        )
    return archive


def _staff(layout: Layout) -> dict[str, dict[str, str]]:
    """Three members of staff, made once; their first passwords and tokens stay readable for the owner alone."""
    staff: dict[str, dict[str, str]] = {}
    for name, role in STAFF:
        kept = layout.secrets / f"demo_{name}.json"
        if not kept.exists():
            if not staff:
                _step("Members of staff")
            write_once(kept, _new_member(layout, name, role).encode())
        staff[name] = json.loads(kept.read_text())
    return staff


def _new_member(layout: Layout, name: str, role: str) -> str:
    """A person of that role, by another name where an earlier run was killed before it kept the first one's secrets."""
    for number in range(1, NAMESAKES_MAX):
        called = name if number == 1 else f"{name}-{number}"
        made = _amulet(layout, "users", "create", called, "--role", role, "--json", may_fail=number < NAMESAKES_MAX - 1)
        if made:
            break
    return made


def _roll_out(layout: Layout, archive: Path, staff: Mapping[str, Mapping[str, str]], checks: Checks) -> None:
    engineer, approver = ({"AMULET_CONSOLE_TOKEN": staff[name]["token"]} for name in ("engineer", "approver"))
    version = json.loads((layout.state / "run" / "model.json").read_text())["version"]
    served = [each["version"] for each in json.loads(_amulet(layout, "status", "--json"))["models"]]
    if version not in served:
        _step("Uploaded by one person, approved by another, rolled out")
        state = _state_of(layout, version, engineer)
        if state not in {"smoke_tested", "approved"}:
            pushed = _amulet(
                layout, "models", "push", str(archive), "--note", "demonstration", "--json", variables=engineer
            )
            state = json.loads(pushed)["state"]
        checks.expect(state in {"smoke_tested", "approved"}, f"{version} is verified and smoke-tested")
        if state == "smoke_tested":
            own = _amulet(
                layout, "models", "approve", version, "--reason", "mine", "--json", variables=engineer, may_fail=True
            )
            checks.expect(own == "", "whoever uploaded it may not approve it")
            _amulet(layout, "models", "approve", version, "--reason", "demonstration", variables=approver)
        _amulet(layout, "models", "rollout", version, "--reason", "demonstration", variables=approver)
    for _ in _within(ARRIVAL_S_MAX):
        models = json.loads(_amulet(layout, "status", "--json", may_fail=True))["models"]
        if any(each["version"] == version and each["ready"] for each in models):
            break
    checks.expect(any(each["version"] == version and each["ready"] for each in models), "the gateway serves it")


def _state_of(layout: Layout, version: str, engineer: Mapping[str, str]) -> str:
    """Where an earlier run left the version; "" where the console has none of that name that could go on."""
    for _ in _within(ARRIVAL_S_MAX):
        listed = json.loads(_amulet(layout, "models", "list", "--json", variables=engineer))
        states = {each["state"] for each in listed if each["version"] == version}
        if not states & {"uploaded", "verified"}:
            break
    return next((state for state in ("approved", "smoke_tested") if state in states), "")


def _predict(layout: Layout, staff: Mapping[str, Mapping[str, str]], checks: Checks) -> None:
    _step("Three photographs through the gateway")
    key_file = _key_file(layout)
    for name, file in (("demo", key_file), ("Try it", layout.try_key)):
        if not file.exists():
            admin = {"AMULET_CONSOLE_TOKEN": staff["admin"]["token"]}
            created = json.loads(_amulet(layout, "keys", "create", "--name", name, "--json", variables=admin))
            write_once(file, created["key"].encode())
    from training.demo.photographs import showcase

    explained = layout.state / "explained"
    photos = [str(path) for path in showcase(layout.state / "showcase", seed=SEED).values()]
    variables = {"AMULET_API_KEY_FILE": str(key_file)}
    for _ in _within(ARRIVAL_S_MAX):  # the key reaches the gateway with its next look at the policy
        printed = _amulet(layout, "predict", photos[0], "--json", variables=variables, may_fail=True)
        if printed:
            break
    click.echo(_amulet(layout, "predict", *photos, "--explain", str(explained), variables=variables))
    answers = [
        json.loads(line) for line in _amulet(layout, "predict", *photos, "--json", variables=variables).splitlines()
    ]
    verdicts = {Path(each["file"]).stem: each["verdict"] for each in answers}
    checks.expect(verdicts["amulet"] == "IN_DOMAIN", f"the amulet is recognised: {verdicts['amulet']}")
    checks.expect(verdicts["coin"] == "OUT_OF_DISTRIBUTION", f"the coin is not taken for an amulet: {verdicts['coin']}")
    checks.expect(verdicts["blurred"] == "UNSURE", f"the blurred photograph is not guessed at: {verdicts['blurred']}")
    checks.expect(all(each["disclaimer"] for each in answers), "every answer carries the disclaimer")
    checks.expect(len(list(explained.glob("*.png"))) == len(photos), f"heat maps are in {explained}")
    _write_last(layout, [each["prediction_id"] for each in answers])


def _look_back(layout: Layout, staff: Mapping[str, Mapping[str, str]], checks: Checks) -> None:
    _step("What the console knows of it")
    os.environ["AMULET_CONSOLE_TOKEN"] = staff["admin"]["token"]
    console = console_connection(layout)
    for prediction_id in _last(layout):
        for _ in _within(ARRIVAL_S_MAX):
            found = console.call("GET", "predictions/", params={"prediction_id": prediction_id})["results"]
            if found:
                break
        checks.expect(len(found) == 1, f"prediction {prediction_id} is there exactly once")
    export = layout.state / "audit.jsonl"
    _amulet(layout, "audit", "export", str(export))
    _amulet(layout, "audit", "verify", str(export), "--key", str(layout.checkpoints / "audit_public.pem"))
    entries = [json.loads(line) for line in export.read_text().splitlines()]
    text = json.dumps(entries)
    checks.expect(
        all(text.count(prediction_id) >= 1 for prediction_id in _last(layout)),
        f"the audit log verifies offline and holds each of them ({len(entries)} lines)",
    )


def _write_last(layout: Layout, prediction_ids: Sequence[str]) -> None:
    (layout.state / "last_predictions.json").write_text(json.dumps(prediction_ids))


def _last(layout: Layout) -> list[str]:
    ids: list[str] = json.loads((layout.state / "last_predictions.json").read_text())
    return ids


def _step(title: str) -> None:
    click.echo(f"\n▸ {title}")


def _amulet(layout: Layout, *arguments: str, variables: Mapping[str, str] | None = None, may_fail: bool = False) -> str:
    """Run one `amulet` command; its stdout. Raises ClickException with its own sentence unless it may fail."""
    command = [sys.executable, "-m", "cli.main", *arguments]
    # Its own folder of trusted keys, whatever the caller's names: a throw-away key has no business beside real ones.
    own = {"AMULET_STATE_DIR": str(layout.state), "AMULET_TRUSTED_KEYS": str(layout.trusted)}
    environment = {**os.environ, **own, **(variables or {})}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False,
                          stderr=subprocess.PIPE if may_fail else None)  # fmt: skip
    if done.returncode != 0 and not may_fail:
        raise click.ClickException(f"`amulet {' '.join(arguments)}` failed with exit status {done.returncode}")
    return done.stdout


def _within(seconds: float) -> Iterator[None]:
    """Attempts until the time is over, a short pause between them; at least one."""
    deadline = time.monotonic() + seconds
    yield
    while time.monotonic() < deadline:
        time.sleep(POLL_S)
        yield
