"""`amulet models` and `amulet keys`: the console's management API from a terminal."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from cli.asking import agreed, console_of, every, find_version, print_json, reason_option, remote_options
from cli.connection import ConsoleConnection, RemoteError
from cli.experiments import experiment
from cli.waiting import waiting
from training.numbers import FiniteRange

CHUNK_BYTES: Final = 4 * 2**20
SETTLE_S_MAX: Final = 90.0
POLL_S: Final = 0.5
_MISTAKES_MOST: Final = 12
_DATA_SAYS: Final[Mapping[str | None, str]] = {
    "same": "the same photographs",
    "other split": "the same photographs, divided or answered otherwise",
    "other photographs": "different photographs: do not hold the numbers against each other",
    None: "the photographs of one alone, since the other's card has no such table",
}
UNSETTLED: Final = frozenset({"uploaded", "verified"})


@click.group(epilog="Example: amulet models push amulets.mar && amulet models list")
def models() -> None:
    """Push, list, compare, approve, roll out and retire model versions."""


@models.command(epilog="Example: amulet models push runs/amulets.mar --note 'more backs of wat_nong_e_duk'")
@click.argument("archive", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--note", default="", help="Why this version: shown to whoever approves it.")
@click.option("--wait/--no-wait", default=True, help="Wait until it is smoke-tested or refused.")
@remote_options
def push(archive: Path, note: str, wait: bool, state: Path, as_json: bool) -> int:
    """Upload an archive, in pieces that can be resumed, and wait for its verification and smoke test."""
    console = console_of(state)
    version = _upload(console, archive, note, quiet=as_json)
    if wait:
        with waiting("Verifying it, and trying it on its golden photographs"):
            version = _settled(console, version)
    _print(version, as_json, lines=outcome)
    if not as_json and version.get("metrics"):
        click.echo(f"Its figures: `amulet models show {version['version']}`", err=True)
    return 0 if version["state"] in {"verified", "smoke_tested", "approved"} else 1


@models.command("list", epilog="Example: amulet models list --json")
@remote_options
def list_(state: Path, as_json: bool) -> None:
    """List the versions, newest first."""
    versions = every(console_of(state), "versions/")
    if as_json:
        print_json(versions)
        return
    for version in versions:
        click.echo(_line(version))
    if not versions:
        click.echo("No versions yet: `amulet models push FILE.mar` uploads one.", err=True)


@models.command(epilog="Example: amulet models show v20261231_tf_efficientnet_lite0_0.871")
@click.argument("version")
@remote_options
def show(version: str, state: Path, as_json: bool) -> None:
    """Show one version: its state, metrics and the verdict of every rule."""
    _print(find_version(console_of(state), version), as_json, lines=told)


@models.command(epilog="Example: amulet models approve VERSION --reason 'confusions checked on the test photographs'")
@click.argument("version")
@reason_option
@remote_options
def approve(version: str, reason: str, state: Path, as_json: bool) -> None:
    """Approve a smoke-tested version. The person who uploaded it may not."""
    console = console_of(state)
    found = find_version(console, version)
    _print(console.call("POST", f"versions/{found['id']}/approve/", json={"reason": reason}), as_json, lines=outcome)


@models.command(epilog="Example: amulet models rollout VERSION --mode canary --weight 0.1 --reason 'first tenth'")
@click.argument("version")
@click.option("--mode", type=click.Choice(["production", "canary", "shadow"]), default="production", show_default=True)
@click.option("--weight", type=FiniteRange(0.0, 1.0), help="Share of the traffic, for a canary.")
@click.option(
    "--unguarded",
    multiple=True,
    type=click.Choice(["errors", "latency", "verdicts", "agreement", "overrides"]),
    help="A guardrail that shall not end it; may be given again.",
)
@reason_option
@remote_options
def rollout(
    version: str,
    mode: str,
    weight: float | None,
    unguarded: tuple[str, ...],
    reason: str,
    state: Path,
    as_json: bool,
) -> None:
    """Give an approved version traffic: all of it, a share, or copies in the shadow."""
    if (mode == "canary") != (weight is not None):
        raise click.UsageError("--weight belongs to --mode canary, and a canary needs it")
    console = console_of(state)
    found = find_version(console, version)
    body: dict[str, Any] = {"mode": mode, "reason": reason, "unguarded": list(unguarded)}
    if weight is not None:
        body["weight_ratio"] = weight
    _print(console.call("POST", f"versions/{found['id']}/rollout/", json=body), as_json, lines=outcome)


@models.command(epilog="Example: amulet models rollback amulets --reason 'confuses two temples'")
@click.argument("model")
@reason_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@remote_options
def rollback(model: str, reason: str, yes: bool, state: Path, as_json: bool) -> int:
    """Give the traffic back to the version that had it before. Says first what it ends, and asks.

    Ends what it said, or nothing: if a guardrail or a colleague was faster, the console refuses.
    """
    console = console_of(state)
    address = f"models/{quote(model, safe='')}/rollback/"
    would = console.call("GET", address)
    click.echo(what_would_end(would), err=True)
    if not yes and not agreed("Roll back?", otherwise="rolls back without"):
        return 1
    _print(console.call("POST", address, json={"reason": reason, "ends": would["ends"]["id"]}), as_json, lines=outcome)
    return 0


@models.command(epilog="Example: amulet models retire VERSION --reason 'learnt from photographs with wrong labels'")
@click.argument("version")
@reason_option
@remote_options
def retire(version: str, reason: str, state: Path, as_json: bool) -> None:
    """Retire an approved version that has no route: it is never rolled out again, and no rollback leads to it."""
    console = console_of(state)
    found = find_version(console, version)
    _print(console.call("POST", f"versions/{found['id']}/retire/", json={"reason": reason}), as_json, lines=outcome)


@models.command(epilog="Example: amulet models retry v20261231_tf_efficientnet_lite0_0.871")
@click.argument("version")
@click.option("--wait/--no-wait", default=True, help="Wait until it is smoke-tested or has failed again.")
@remote_options
def retry(version: str, wait: bool, state: Path, as_json: bool) -> int:
    """Try the golden photographs of a version whose smoke test failed once more."""
    console = console_of(state)
    found = console.call("POST", f"versions/{find_version(console, version)['id']}/retry/")
    if wait:
        with waiting("Trying it on its golden photographs"):
            found = _settled(console, found)
    _print(found, as_json, lines=outcome)
    return 0 if found["state"] in {"verified", "smoke_tested"} else 1


@models.command(epilog="Example: amulet models best --metric macro_f1_cv --model amulets --name-only")
@click.option("--metric", required=True, help="One of the metrics on the cards, such as macro_f1_cv or ece.")
@click.option("--model", default="", help="Needed where there are several.")
@click.option("--name-only", is_flag=True, help="Print the name of the best version, and nothing else.")
@remote_options
def best(metric: str, model: str, name_only: bool, state: Path, as_json: bool) -> None:
    """Order the versions of a model by one metric, the best first."""
    console = console_of(state)
    found = console.call("GET", "versions/best/", params={"metric": metric, "model": model or _only_model(console)})
    if as_json:
        print_json(found)
    elif name_only:
        click.echo(found[0]["version"])
    else:
        for place, each in enumerate(found, 1):
            may = "may be the best" if each["may_be_best"] else ""
            click.echo(f"{place:>3}  {each['version']:<48}{_figure(each):<24}  {may}".rstrip())


@models.command(epilog="Example: amulet models compare v20261118_tiny_0.974 v20261124_tiny_0.979")
@click.argument("first")
@click.argument("second")
@remote_options
def compare(first: str, second: str, state: Path, as_json: bool) -> None:
    """Set two versions of a model side by side, metric by metric."""
    console = console_of(state)
    a, b = (str(find_version(console, name)["id"]) for name in (first, second))
    found = console.call("GET", "versions/compare/", params={"a": a, "b": b})
    if as_json:
        print_json(found)
        return
    click.echo("\n".join(set_side_by_side(found)))


@models.command(epilog="Example: amulet models then web-shop 2026-01-31T09:30")
@click.argument("client")
@click.argument("at")
@click.option("--model", default="", help="Needed where the client might ask several.")
@remote_options
def then(client: str, at: str, model: str, state: Path, as_json: bool) -> None:
    """Say what answered a client at an instant: versions, thresholds, policy, and who had approved them.

    AT may have a zone, as 2026-01-31T02:30Z has; without one it is in the console's time.
    """
    found = console_of(state).call("GET", "routes/then/", params={"client": client, "at": at, "model": model})
    if as_json:
        print_json(found)
        return
    for part in found["parts"]:
        click.echo(
            f"{part['version']}  {part['mode']}  {part['share_ratio']:.1%}  approved by {part['approved_by']}, "
            f"{part['approved_at']}  sha256 {part['sha256']}"
        )
    if not found["parts"]:
        click.echo("Nothing was in production then.", err=True)
    click.echo(f"policy {found['policy_revision']}  {found['policy_digest']}")


models.add_command(experiment)


@click.group(epilog="Example: amulet keys create --name web-shop > web-shop.key")
def keys() -> None:
    """Create and revoke API keys."""


@keys.command(epilog="Example: amulet keys create --name web-shop > web-shop.key")
@click.option("--name", required=True, help="The calling service.")
@click.option("--calls-per-minute", type=click.IntRange(1, 1_000_000), help="Its limit.  [default: the console's]")
@remote_options
def create(name: str, calls_per_minute: int | None, state: Path, as_json: bool) -> None:
    """Create a client, unless there is one of that name, and a key for it. The key is shown once."""
    console = console_of(state)
    client = next((client for client in every(console, "clients/") if client["name"] == name), None)
    if client is None:
        body: dict[str, Any] = {"name": name}
        if calls_per_minute is not None:
            body["calls_per_minute"] = calls_per_minute
        client = console.call("POST", "clients/", json=body)
    elif calls_per_minute is not None and client["calls_per_minute"] != calls_per_minute:
        raise RemoteError(
            f"the client {name} exists with {client['calls_per_minute']} calls a minute: change that in the console"
        )
    key = console.call("POST", f"clients/{client['id']}/keys/")
    if as_json:
        click.echo(json.dumps({**key, "client": name}))
        return
    click.echo(key["key"])
    click.echo("Keep it now: it is not shown again. `AMULET_API_KEY_FILE=FILE amulet predict …` uses it.", err=True)


@keys.command(epilog="Example: amulet keys revoke 0a1b2c3d4e5f")
@click.argument("key_id")
@remote_options
def revoke(key_id: str, state: Path, as_json: bool) -> None:
    """Revoke a key; it is refused within five seconds, also on open connections."""
    answer = console_of(state).call("POST", f"keys/{quote(key_id, safe='')}/revoke/")
    if as_json:
        click.echo(json.dumps(answer))
    else:
        click.echo(f"{key_id} is revoked.", err=True)


def _upload(console: ConsoleConnection, archive: Path, note: str, *, quiet: bool) -> dict[str, Any]:
    size = archive.stat().st_size
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, hashlib.sha256).hexdigest()
        body = {"filename": archive.name, "size": size, "sha256": digest, "note": note}
        upload = console.call("POST", "uploads/", json=body)
        file.seek(upload["offset"])
        hidden = quiet or not sys.stderr.isatty()  # elsewhere its label alone would stand among the sentences
        with click.progressbar(length=size, label="Uploading", hidden=hidden, file=sys.stderr) as bar:
            bar.update(upload["offset"])
            while chunk := file.read(CHUNK_BYTES):
                console.send(
                    "PATCH",
                    f"uploads/{upload['id']}/",
                    content=chunk,
                    headers={
                        "Upload-Offset": str(file.tell() - len(chunk)),
                        "Content-Type": "application/offset+octet-stream",
                    },
                )
                bar.update(len(chunk))
    finished: dict[str, Any] = console.call("POST", f"uploads/{upload['id']}/finish/", json={})
    return finished


def _settled(console: ConsoleConnection, version: dict[str, Any]) -> dict[str, Any]:
    deadline = time.monotonic() + SETTLE_S_MAX
    while version["state"] in UNSETTLED:
        if time.monotonic() > deadline:
            raise RemoteError(
                f"{version['version']} is still {version['state']} after {SETTLE_S_MAX:.0f} s: does a worker run? "
                "`amulet status` says"
            )
        time.sleep(POLL_S)
        version = console.call("GET", f"versions/{version['id']}/")
    return version


def set_side_by_side(found: dict[str, Any]) -> Iterator[str]:
    """Two versions as a person reads them: metrics, then what either takes for what most often."""
    for pair in found["metrics"]:
        figures = "  ".join(_figure(pair[side]).ljust(24) for side in ("a", "b"))
        yield f"{pair['name']:<32}{figures}  {pair['better']}".rstrip()
    tables = [(found["confusion"][side] or {}).get("counts", {}) for side in ("a", "b")]
    if not any(tables):
        return
    yield f"\nWhat is taken for what, measured on {_DATA_SAYS[found['confusion']['measured_on']]}:"
    pairs = {(shown, said) for table in tables for shown, row in table.items() for said in row if shown != said}
    counts = {pair: [table.get(pair[0], {}).get(pair[1], 0) for table in tables] for pair in pairs}
    for shown, said in sorted(pairs, key=lambda pair: (-max(counts[pair]), pair))[:_MISTAKES_MOST]:
        sides = "  ".join(
            f"{count} of {sum(table.get(shown, {}).values())}".ljust(24)
            for count, table in zip(counts[shown, said], tables, strict=True)
        )
        yield f"{f'{shown} as {said}':<56}  {sides}".rstrip()


def what_would_end(would: Mapping[str, Any]) -> str:
    """What a rollback does, as a person reads it beforehand."""
    ended = would["ends"]
    if ended["mode"] == "canary":
        share = f"{ended['weight_ratio']:.0%} of the calls"
        return f"The canary {ended['version']} ({share}) ends; {would['serves']} answers all of them."
    return f"{ended['version']} leaves production; {would['serves']} answers all calls."


def _only_model(console: ConsoleConnection) -> str:
    names = sorted({version["model"] for version in every(console, "versions/") if version["model"]})
    if len(names) != 1:
        raise RemoteError(f"say which model by --model: {', '.join(names)}" if names else "there are no versions yet")
    only: str = names[0]
    return only


def _figure(metric: dict[str, Any] | None) -> str:
    return "–" if metric is None else f"{metric['value']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}]"


def _line(version: dict[str, Any]) -> str:
    share = f"{version['weight_ratio']:.0%} of traffic" if version.get("weight_ratio") else ""
    shadow = "shadow" if version.get("shadow") else ""
    return f"{version['model']:<20}{version['version']:<48}{version['state']:<14}{share or shadow}"


def _print(version: dict[str, Any], as_json: bool, *, lines: Callable[[dict[str, Any]], Iterator[str]]) -> None:
    if as_json:
        print_json(version)
        return
    if "version" not in version:
        click.echo(json.dumps(version, ensure_ascii=False, indent=2))
        return
    click.echo("\n".join(lines(version)))


def outcome(version: dict[str, Any]) -> Iterator[str]:
    """What became of a version, as a person reads it who has just done something to it."""
    yield _line(version)
    for rule in version.get("rules", ()):
        if rule["state"] == "failed":
            yield f"  refused by {rule['rule']}: {rule['message']}"


def told(version: dict[str, Any]) -> Iterator[str]:
    """A version as a person reads it: what stands in its way, then its figures under what they were measured on."""
    yield from outcome(version)
    measured_on = ""
    for metric in version.get("metrics", ()):
        if metric["data"] != measured_on:
            measured_on = metric["data"]
            yield f"  on {measured_on}"
        yield f"    {metric['name']:<30} {metric['value']:.3f}  [{metric['low']:.3f}, {metric['high']:.3f}]"
