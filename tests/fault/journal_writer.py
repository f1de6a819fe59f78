"""A process that fills a journal until it is killed, and tells through its output what was acknowledged.

    python -m tests.fault.journal_writer FOLDER [--records N] [--callers N] [--console URL] [--advance] [--drain S] …

It prints lines, each with one system call that the journal itself never makes (writev), so
that faults injected into the journal's calls leave the report alone:

    ready               the journal is open
    acked SEQ NUMBER    record NUMBER is durable under sequence SEQ
    refused NUMBER      record NUMBER was refused; it is tried again once records are taken again
    advancing SEQ       everything before SEQ is about to be confirmed (--advance)
    health STATUS TEXT  at the end

With --careless N it says that a record is durable before it is, and having said so of the Nth it waits to be killed
and does not write that: the negative control of whoever looks for lost ones.

Whoever was refused waits --patience seconds at most until records are taken again.

With --console the records are events and a shipper delivers them; with --drain it ends when the
console has all of them, or after so many seconds that it never will.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

from gateway.journal.errors import JournalError
from gateway.journal.journal import Journal
from gateway.journal.writer import JournalSettings

REFUSALS_MAX = 12  # more than three callers together meet in three faults


def record_of(number: int) -> bytes:
    """What is written for a number: 20 to some 400 bytes that no other number has."""
    return b"%020d" % number + bytes((number * 7 + index) % 256 for index in range(number * 37 % 400))


def number_in(record: bytes) -> int:
    number = int(record[:20])
    assert record == record_of(number)
    return number


def say(line: str) -> None:
    os.writev(1, [line.encode() + b"\n"])


class Writing:
    """A number of callers that append one record after another."""

    def __init__(self, journal: Journal, arguments: argparse.Namespace) -> None:
        self._journal = journal
        self._arguments = arguments
        self._next = arguments.first
        self._refusals = 0
        self._told = self._told_first = journal.durable_end  # the number of the next record, by --careless
        self._writing: set[asyncio.Task[int]] = set()

    async def run(self) -> None:
        advancing = asyncio.create_task(self._advance()) if self._arguments.advance else None
        async with asyncio.TaskGroup() as callers:
            for _ in range(self._arguments.callers):
                callers.create_task(self._one_caller())
        if advancing is not None:
            advancing.cancel()

    def _finished(self) -> bool:
        limit = self._arguments.records
        return self._refusals >= REFUSALS_MAX or (limit > 0 and self._next >= self._arguments.first + limit)

    async def _one_caller(self) -> None:
        while not self._finished():
            number, self._next = self._next, self._next + 1
            while self._refusals < REFUSALS_MAX:
                try:
                    sequence = await self._append(self._content(number))
                except JournalError:
                    self._refusals += 1
                    say(f"refused {number}")
                    await self._admitting()
                else:
                    say(f"acked {sequence} {number}")
                    break

    async def _append(self, content: bytes) -> int:
        if not self._arguments.careless:
            return await self._journal.append(content)
        if self._told - self._told_first == self._arguments.careless:
            await asyncio.Event().wait()
        self._told += 1
        if self._told - self._told_first < self._arguments.careless:
            self._writing.add(asyncio.create_task(self._journal.append(content)))
            await asyncio.sleep(0)  # so that they are written in their order
        return self._told - 1

    def _content(self, number: int) -> bytes:
        if not self._arguments.console:
            return record_of(number)
        from protos.amulet.events.v1 import events_pb2 as pb

        return pb.Event(event_id=f"event-{number}").SerializeToString()

    async def _admitting(self) -> None:
        try:
            async with asyncio.timeout(self._arguments.patience):
                while True:
                    if self._journal.health().admitting:
                        return
                    await asyncio.sleep(0.02)
        except TimeoutError:
            return

    async def _advance(self) -> None:
        """Confirm everything durable now and then, as a shipper would."""
        while True:
            await self._journal.wait_beyond(self._journal.cursor + 9)
            end = self._journal.durable_end
            say(f"advancing {end}")
            try:
                await asyncio.to_thread(self._journal.advance, end)
            except OSError as error:
                say(f"cursor {error}")


async def drained(journal: Journal, *, within_s: float) -> None:
    """Return when everything is delivered, or is not after so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while journal.health().backlog_records:  # noqa: ASYNC110 - no event tells of a confirmation
                await asyncio.sleep(0.02)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--records", type=int, default=0)
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--segment-bytes", type=int, default=4000)
    parser.add_argument("--free-bytes-min", type=int, default=0)
    parser.add_argument("--advance", action="store_true")
    parser.add_argument("--console", default="")
    parser.add_argument("--drain", type=float, default=0.0)
    parser.add_argument("--careless", type=int, default=0)
    parser.add_argument("--patience", type=float, default=60.0)
    arguments = parser.parse_args()
    logging.disable()  # its lines would go through the write calls that faults are injected into
    settings = JournalSettings(
        arguments.folder, free_bytes_min=arguments.free_bytes_min, segment_bytes_max=arguments.segment_bytes
    )
    try:
        journal = await Journal.open(settings)
    except (JournalError, OSError) as error:
        say(f"closed {error}")
        sys.exit(3)
    say("ready")
    shipping = None
    if arguments.console:
        from gateway.journal.shipper import Shipper, ShipperSettings
        from tests.fault.receiver import TOKEN

        settings_of_shipper = ShipperSettings(arguments.console, TOKEN, batch_records_max=50, linger_s=0.0)
        shipping = asyncio.create_task(Shipper(journal, settings_of_shipper).run())
    await Writing(journal, arguments).run()
    if arguments.drain:
        await drained(journal, within_s=arguments.drain)
    health = journal.health()
    say(f"health {health.status} {health.sentence}")
    if shipping is not None:
        shipping.cancel()
    await journal.close()


if __name__ == "__main__":
    asyncio.run(main())
