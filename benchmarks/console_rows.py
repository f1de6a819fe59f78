"""Whether a console is as quick with a long history as with a short one: `amulet bench console --rows 1000000`.

Two databases on a real PostgreSQL, one with a tenth of the rows, filled by `history` and dropped
at the end. Every list of the admin with each of its filters, searches, first and deep pages, every
list of the REST interface, the pages of single things, and the jobs that run beside them are asked in
turn of both, so that what else the machine does falls on both alike. In one process, with all of
Django and without a socket, but for ingest, which a console of its own takes; queries are counted
apart from the timing.
"""

from __future__ import annotations

import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg2  # type: ignore[import-untyped]  # its stubs are a package of their own
from psycopg2 import sql

from benchmarks.console_pages import Place, addresses, ask, seen_through
from benchmarks.ingest import ingest
from benchmarks.machine import busy_ratio, cpu_ticks, machine
from tests.console_ready import ready

if TYPE_CHECKING:
    from django.test import Client as Browser

    from console.staff.models import User

SERVER: Final = "postgresql://postgres@127.0.0.1:5432"
PAGE_MS_MAX: Final = 300.0
QUERIES_MAX: Final = 15
INGEST_PER_S_MIN: Final = 5_000.0
DRIFT_S_MAX: Final = 1.0
VERIFY_PER_S_MIN: Final = 50_000.0
ERASURE_S_MAX: Final = 2.0
GROWTH_MAX: Final = 1.3
# Fewer milliseconds more are noise and not cost.
GROWTH_COUNTS_FROM_MS: Final = 5.0
SMALLER_BY: Final = 10

# Nobody signs a checkpoint between them, and entries that none covers any more would prove nothing.
JOB_ROUNDS_MAX: Final = 2

_connections: Final[dict[str, Any]] = {}  # database -> Django's wrapper, kept between turns


def measure(
    rows: int,
    *,
    server: str = SERVER,
    rounds: int = 10,
    seconds: float = 4.0,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Fill, measure, drop. Raises ServerRefused when there is no such server."""
    described, ticks = machine(), cpu_ticks()
    with databases(server, ("small", "large")) as names, tempfile.TemporaryDirectory(prefix="bench-") as work:
        prepare(server, names["large"])
        places = {
            "small": settle(names["small"], rows // SMALLER_BY, tell),
            "large": settle(names["large"], rows, tell),
        }
        gc.collect()
        gc.freeze()  # as a server's process after its start: what filling made is no page's garbage
        found = figures_of(places, rounds=rounds, seconds=seconds, work=Path(work), tell=tell)
    return {
        "machine": {**described, "busy_ratio": busy_ratio(ticks, cpu_ticks())},
        "settings": {
            "database": "postgresql",
            "rounds": rounds,
            "rows": {size: asdict(place.filled) for size, place in places.items()},
        },
        **found,
    }


class ServerRefused(Exception):
    """The PostgreSQL that was named lets nobody in, or makes no databases; worded for the person at the terminal."""


@contextmanager
def databases(server: str, sizes: Sequence[str]) -> Iterator[dict[str, str]]:
    """Databases of our own, dropped at the end. Raises ServerRefused.

    server: postgresql://USER:PASSWORD@HOST:PORT.
    """
    names = {size: f"amulet_bench_{os.getpid()}_{size}" for size in sizes}
    try:
        connection = psycopg2.connect(f"{server}/postgres", connect_timeout=5)
    except psycopg2.Error as error:
        raise ServerRefused(f"PostgreSQL there does not let anybody in: {' '.join(str(error).split())}") from error
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            for name in names.values():
                try:
                    cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
                except psycopg2.Error as error:
                    why = " ".join(str(error).split())
                    raise ServerRefused(f"PostgreSQL there makes no database: {why}") from error
        yield names
    finally:
        while _connections:
            _connections.popitem()[1].close()
        with connection.cursor() as cursor:
            for name in names.values():
                cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        connection.close()


def table(found: Mapping[str, Any]) -> str:
    """As a person reads it: what each page and job costs with the long history, and how much more than before."""
    lines = [f"{'case':<78}{'p50 ms':>9}{'p95 ms':>9}{'CPU ms':>9}{'queries':>9}{'growth':>9}"]
    for case, row in found["systems"]["large"].items():
        growth = found["ratios"].get(f"growth {case}", 1.0)
        if "per_s" in row:
            lines.append(f"{case:<78}{row['per_s']:>27,.0f} a second{growth:>16.2f}")
            continue
        lines.append(
            f"{case[:77]:<78}{row['p50_ms']:>9.1f}{row['p95_ms']:>9.1f}{row['cpu_ms']:>9.1f}"
            f"{row.get('queries', 0):>9.0f}{growth:>9.2f}"
        )
    for name, heading in (("missed", "by the clock"), ("missed_by_cpu", "by CPU time")):
        lines += [f"Beyond a limit {heading}:", *(f"  {each}" for each in found[name] or ["nothing"])]
    return "\n".join(lines) + "\n"


def prepare(server: str, name: str) -> None:
    """Set Django up in this process, with a state folder of its own."""
    os.environ["AMULET_DATABASE_URL"] = f"{server}/{name}"
    os.environ["AMULET_LOG_LEVEL"] = "ERROR"
    ready()
    from django.conf import settings
    from django.core.management import call_command

    from console.serve import settle_memory

    settings.ALLOWED_HOSTS.append("testserver")
    call_command("collectstatic", interactive=False, verbosity=0)
    settle_memory()


def turn_to(name: str) -> None:
    """Let this process work on that database from now on, over the connection that it had to it before."""
    from django.db import DEFAULT_DB_ALIAS, connections

    if name not in _connections:
        made = connections.create_connection(DEFAULT_DB_ALIAS)
        made.settings_dict = {**made.settings_dict, "NAME": name}
        made.ensure_connection()
        _connections[name] = made
    connections[DEFAULT_DB_ALIAS] = _connections[name]


def settle(name: str, rows: int, tell: Callable[[str], None]) -> Place:
    """Tables, staff, clients, versions and a history in one database."""
    from django.conf import settings
    from django.core.management import call_command

    from benchmarks.history import VERSIONS, fill
    from console.audit.signer import Signer
    from console.clients.services import create_client
    from console.registry.models import ModelVersion, State
    from console.site.roles import Role
    from console.staff.services import create_user
    from tests.unit.console.versions import a_version

    turn_to(name)
    call_command("migrate", interactive=False, verbosity=0)
    staff = {role: create_user(name=f"bench-{role.name.lower()}", role=role) for role in Role}
    administrator = staff[Role.ADMINISTRATOR]
    for number in range(12):
        create_client(actor=administrator.user, name=f"client {number:02}", models=[])
    for number, version in enumerate(VERSIONS):
        made = a_version(
            staff[Role.MODEL_ENGINEER].user, state=State.APPROVED, number=number + 1, model="amulets",
            approver=staff[Role.APPROVER].user,
        )  # fmt: skip
        ModelVersion.objects.filter(pk=made.pk).update(version=version)
    key = Signer(settings.AMULET.audit_key_file, settings.AMULET.checkpoint_dir)._key
    began_s = time.monotonic()
    filled = fill(rows, key=key, tell=lambda done: tell(f"{done:,} of {rows:,} predictions"))
    tell(f"filled in {time.monotonic() - began_s:.0f} s")
    return Place(name, filled, signed_in(administrator.user), administrator.token)


def signed_in(user: User) -> Browser:
    """A browser of somebody who has shown the second factor."""
    from django.test import Client as Browser
    from django_otp.plugins.otp_totp.models import TOTPDevice

    browser = Browser()
    browser.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    session = browser.session
    session["otp_device_id"] = TOTPDevice.objects.get(user=user).persistent_id
    session.save()
    return browser


def figures_of(
    places: Mapping[str, Place],
    *,
    rounds: int,
    seconds: float,
    work: Path,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Every case on every database, in turn. Cases, growth, and what is beyond its limit."""
    kept: dict[str, dict[str, dict[str, list[float]]]] = {}  # size -> case -> figure -> one value a round
    queries: dict[str, dict[str, int]] = {}
    pages: dict[str, dict[str, str]] = {}
    for size, place in places.items():
        turn_to(place.name)
        ask(place, "/admin/")
        with seen_through():
            pages[size] = addresses(place)
        if not any(case.startswith("list ") for case in pages[size]):
            raise RuntimeError(f"no list was found in {place.name}")
        queries[size] = {case: _queries(place, url) for case, url in pages[size].items()}
    tell(f"{len(pages['large'])} pages")
    for number in range(rounds):
        tell(f"round {number + 1} of {rounds}")
        # Page by page, so that a processor which changes its pace meets both databases alike.
        for case in dict.fromkeys(case for size in places for case in pages[size]):
            for size, place in places.items():
                if (url := pages[size].get(case)) is None:
                    continue
                turn_to(place.name)
                _keep(kept.setdefault(size, {}), case, **_cost(partial(ask, place, url)))
    for number in range(min(-(-rounds // 3), JOB_ROUNDS_MAX)):
        tell(f"jobs, round {number + 1}")
        for size, place in places.items():
            turn_to(place.name)
            for case, one in jobs(place, work, seconds).items():
                _keep(kept[size], case, **one)
    systems = {
        size: {case: _row(figures) | _counted(queries[size].get(case)) for case, figures in cases.items()}
        for size, cases in kept.items()
    }
    growth = {case: _growth(systems["small"].get(case), row) for case, row in systems["large"].items()}
    return {
        "systems": systems,
        "ratios": {f"growth {case}": value for case, value in growth.items() if value is not None},
        "missed": [*_missed(systems["large"], "p95_ms"), *_grown(growth)],
        # What of that stays when only the time is counted in which somebody worked: on a busy machine the rest waited.
        "missed_by_cpu": [*_missed(systems["large"], "p95_cpu_ms"), *_grown(growth)],
        "rounds": kept,
    }


def jobs(place: Place, work: Path, seconds: float) -> dict[str, dict[str, float]]:
    """What runs beside the pages, once each."""
    return {
        "ingest": ingest(seconds).row(),
        "ingest, a process a core": ingest(seconds, processes=len(os.sched_getaffinity(0))).row(),
        "drift report": _cost(_drift),
        "audit verification": _verify(work),
        "erasure of one person": _erase(),
        "check of the newest entries": _cost(partial(ask, place, "/admin/audit/entry/verify")),
    }


def _drift() -> None:
    from django.utils.timezone import now

    from console.drift.services import watch

    watch(at=now())


def _verify(work: Path) -> dict[str, float]:
    """Entries a second, of an export in a file, as `amulet audit verify` does it; the newest 200,000 at most."""
    from console.audit import queries
    from console.audit.export import export
    from console.audit.models import Checkpoint
    from console.audit.verifier import verify

    key, last = queries.public_key(), queries.last_sequence()
    after = Checkpoint.objects.filter(size__lte=last - 200_000).order_by("-size").first()
    file = work / "audit.jsonl"
    with file.open("wb") as out:
        out.writelines(export(key, after=after, last=last))
    report: Any = None

    def check() -> None:
        nonlocal report
        with file.open("rb") as lines:
            report = verify(lines, key)

    took = _cost(check)
    if not report.whole:
        raise RuntimeError(f"the log does not verify: {report.problems[:1]}")
    return _rates(report.entries, took)


def _erase() -> dict[str, float]:
    """From the first step to the certificate, of a person with twenty photographs."""
    from console.privacy import erasure
    from console.site.roles import Role
    from console.staff.models import User
    from tests.unit.console.privacy.planted import ask_erasure, plant

    officer = User.objects.get(username=f"bench-{Role.PRIVACY_OFFICER.name.lower()}")
    expert = User.objects.get(username=f"bench-{Role.REVIEWER.name.lower()}")
    person = f"bench-person-{time.monotonic_ns()}"
    plant(officer, expert, photographs=20, person=person, tag=person)
    request = ask_erasure(officer, person)
    return _cost(lambda: _certain(erasure.carry_out(request.pk)))


def _certain(done: bool) -> None:
    if not done:
        raise RuntimeError("the erasure waits for something")


def _queries(place: Place, url: str) -> int:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        ask(place, url)
    return len(captured)


def _cost(work: Callable[[], object]) -> dict[str, float]:
    """What some work takes: time as a clock has it, and time that this process and the database's worked."""
    database_ms, own_s, began_s = _database_cpu_ms(), time.process_time(), time.perf_counter()
    work()
    ms, own_ms = (time.perf_counter() - began_s) * 1000, (time.process_time() - own_s) * 1000
    return {"ms": ms, "own_cpu_ms": own_ms, "database_cpu_ms": _database_cpu_ms() - database_ms}


def _database_cpu_ms() -> float:
    """CPU time of this connection's process at the server, which is on this machine; 0 where it cannot be seen."""
    from django.db import connection

    connection.ensure_connection()
    pid = connection.connection.info.backend_pid
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6
    except OSError:
        return 0.0


def _rates(done: int, took: Mapping[str, float]) -> dict[str, float]:
    """So many a second, and what each of them costs."""
    return {
        "per_s": done / took["ms"] * 1000,
        "own_cpu_us_each": took["own_cpu_ms"] * 1000 / done,
        "database_cpu_us_each": took["database_cpu_ms"] * 1000 / done,
    }


def _keep(cases: dict[str, dict[str, list[float]]], case: str, **figures: float) -> None:
    for name, value in figures.items():
        cases.setdefault(case, {}).setdefault(name, []).append(round(value, 3))


def _row(figures: Mapping[str, Sequence[float]]) -> dict[str, float]:
    if "per_s" in figures:
        return {name: statistics.median(values) for name, values in figures.items()}
    cpu = [sum(parts) for parts in zip(figures["own_cpu_ms"], figures["database_cpu_ms"], strict=True)]
    return {
        "p50_ms": statistics.median(figures["ms"]),
        "p95_ms": _p95(figures["ms"]),
        "p95_cpu_ms": _p95(cpu),
        "cpu_ms": statistics.median(cpu),
        "least_cpu_ms": min(cpu),
        "database_cpu_ms": statistics.median(figures["database_cpu_ms"]),
    }


def _p95(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]


def _counted(queries: int | None) -> dict[str, float]:
    return {} if queries is None else {"queries": float(queries)}


def _growth(small: Mapping[str, float] | None, large: Mapping[str, float]) -> float | None:
    """How much more CPU time the large history costs: what else the machine does is no part of that.

    Of pages by the least of their rounds, as many of each: a neighbour on the processor only ever adds.
    """
    if small is None:
        return None
    if "per_s" in large:
        return _each(large) / _each(small)
    dearer_ms = large["least_cpu_ms"] - small["least_cpu_ms"]
    return large["least_cpu_ms"] / small["least_cpu_ms"] if dearer_ms >= GROWTH_COUNTS_FROM_MS else 1.0


def _each(row: Mapping[str, float]) -> float:
    return row["own_cpu_us_each"] + row["database_cpu_us_each"]


def _missed(cases: Mapping[str, Mapping[str, float]], figure: str) -> list[str]:
    limits = {"drift report": DRIFT_S_MAX * 1000, "erasure of one person": ERASURE_S_MAX * 1000}
    wanted = {
        "ingest": INGEST_PER_S_MIN,
        "ingest, a process a core": INGEST_PER_S_MIN,
        "audit verification": VERIFY_PER_S_MIN,
    }
    found = []
    for case, row in cases.items():
        if "per_s" in row:
            # Ingest works at more than one core: its CPU time says nothing of its rate.
            rate = row["per_s"] if figure == "p95_ms" or case.startswith("ingest") else 1e6 / _each(row)
            if rate < wanted[case]:
                found.append(f"{case}: {rate:,.0f} a second, wanted {wanted[case]:,.0f}")
            continue
        limit = limits.get(case, PAGE_MS_MAX)
        if row[figure] > limit and not case.startswith("check of"):
            found.append(f"{case}: {figure} {row[figure]:.0f}, at most {limit:.0f}")
        if row.get("queries", 0.0) > QUERIES_MAX:
            found.append(f"{case}: {row['queries']:.0f} queries, at most {QUERIES_MAX}")
    return found


def _grown(growth: Mapping[str, float | None]) -> list[str]:
    # The check begins at a checkpoint, and here nobody signs one between two rounds of ingest.
    return [
        f"{case}: {value:.2f} times from the small to the large history, at most {GROWTH_MAX}"
        for case, value in growth.items()
        if value is not None and value > GROWTH_MAX and not case.startswith("check of")
    ]
