"""HTTP/2 frame by frame, for what no client library sends: RFC 9113, and RFC 7541 without its tables."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final, Self

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7, 0x8, 0x9
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
ACK: Final = 0x1
INITIAL_WINDOW_SIZE: Final = 0x4
CANCEL: Final = (0x8).to_bytes(4)
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_WINDOW_BYTES: Final = 65_535
_FRAME_BYTES: Final = 16_384


def field_block(fields: Iterable[tuple[str, str]]) -> bytes:
    """Literal fields without indexing or Huffman."""
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)


def _text(text: str) -> bytes:
    content, length = text.encode(), bytearray()
    rest = len(content)
    if rest < 127:
        return bytes([rest]) + content
    length.append(127)
    rest -= 127
    while rest >= 128:
        length.append(rest % 128 | 128)
        rest //= 128
    return bytes([*length, rest]) + content


def call_fields(method: str, *metadata: tuple[str, str]) -> bytes:
    """What begins a call of gRPC. method: /package.Service/Method."""
    return field_block(
        [
            (":method", "POST"), (":scheme", "http"), (":path", method), (":authority", "gateway"),
            ("te", "trailers"), ("content-type", "application/grpc"), *metadata,
        ]
    )  # fmt: skip


def message(content: bytes, *, packed: bool = False) -> bytes:
    return bytes([packed]) + len(content).to_bytes(4) + content


class Connection:
    """One connection. It reads what comes, acknowledges settings, and counts how much it may send."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, acknowledging: bool = True
    ) -> None:
        self._reader, self._writer = reader, writer
        self._windows: dict[int, int] = {0: _WINDOW_BYTES}
        self._initial_bytes = _WINDOW_BYTES
        self._changed = asyncio.Condition()
        self._next_stream = 1
        self._reading = asyncio.create_task(self._read())
        self.ended: dict[int, bytes] = {}  # stream -> the last field block that it had, or b"" where it was reset
        self.closed = False
        self.goaway = b""
        self._bounded = False
        self._acknowledging = acknowledging

    @classmethod
    @asynccontextmanager
    async def to(
        cls, port: int, *, tls: ssl.SSLContext | None = None, settings: bytes = b"", acknowledging: bool = True
    ) -> AsyncIterator[Self]:
        """acknowledging: the other side's settings, as everybody has to."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=tls, server_hostname="localhost" if tls else None
        )
        writer.write(PREFACE)
        connection = cls(reader, writer, acknowledging=acknowledging)
        connection.send(SETTINGS, settings)
        try:
            yield connection
        finally:
            await connection.close()

    async def close(self) -> None:
        self._reading.cancel()
        with suppress(asyncio.CancelledError):
            await self._reading
        self._writer.close()
        with suppress(OSError, ssl.SSLError):
            await self._writer.wait_closed()

    def send(self, kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> None:
        self._writer.write(len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload)

    async def drain(self) -> None:
        """Raises OSError when the other side has gone."""
        await self._writer.drain()

    def begin(self, block: bytes) -> int:
        """A stream that began."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self._windows.setdefault(stream, self._initial_bytes)
        first, *others = [block[place : place + _FRAME_BYTES] for place in range(0, len(block), _FRAME_BYTES)]
        self.send(HEADERS, first, flags=0 if others else END_HEADERS, stream=stream)
        for number, each in enumerate(others, 1):
            self.send(CONTINUATION, each, flags=END_HEADERS if number == len(others) else 0, stream=stream)
        return stream

    async def give(self, stream: int, content: bytes, *, ending: bool = True) -> None:
        """All of it, as the other side takes it; returns earlier when the stream or the connection has ended.

        ending: nothing follows on this stream.
        """
        place = 0
        while place < len(content):
            async with self._changed:
                await self._changed.wait_for(
                    lambda: self._over(stream) or min(self._windows[0], self._windows[stream]) > 0
                )
            if self._over(stream):
                return
            size = min(_FRAME_BYTES, self._windows[0], self._windows[stream], len(content) - place)
            last = ending and place + size == len(content)
            self.send(DATA, content[place : place + size], flags=END_STREAM if last else 0, stream=stream)
            for each in (0, stream):
                self._windows[each] -= size
            place += size
            with suppress(OSError):
                await self.drain()

    async def end_of(self, stream: int) -> bytes:
        """The last fields of a stream; b"" where it was reset, or the connection went."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._over(stream))
        return self.ended.get(stream, b"")

    async def until_bounded(self) -> None:
        """Once the other side's settings are acknowledged: gRPC holds nobody to them before."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._bounded or self.closed)

    async def until_closed(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self.closed)

    def _over(self, stream: int) -> bool:
        return self.closed or stream in self.ended

    async def _read(self) -> None:
        try:
            while True:
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3]))
                await self._take(head[3], head[4], int.from_bytes(head[5:]) & 0x7FFFFFFF, payload)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self.closed = True
            async with self._changed:
                self._changed.notify_all()

    async def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        async with self._changed:
            if kind == SETTINGS and not flags & ACK:
                for place in range(0, len(payload), 6):
                    if int.from_bytes(payload[place : place + 2]) == INITIAL_WINDOW_SIZE:
                        size = int.from_bytes(payload[place + 2 : place + 6])
                        for each in self._windows.keys() - {0}:
                            self._windows[each] += size - self._initial_bytes
                        self._initial_bytes = size
                if self._acknowledging:
                    self.send(SETTINGS, flags=ACK)
                self._bounded = True
            elif kind == WINDOW_UPDATE:
                self._windows[stream] = self._windows.get(stream, self._initial_bytes) + int.from_bytes(payload)
            elif kind == GOAWAY:
                self.goaway = payload
            elif kind == RST_STREAM:
                self.ended.setdefault(stream, b"")
            elif kind == HEADERS and flags & END_STREAM:
                self.ended[stream] = payload
            self._changed.notify_all()
