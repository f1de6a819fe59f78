"""Everything that lies in a broker at this moment, as an intruder there could read it.

"embedded"     the files of the folder
redis://       every key of the database, the cache's too; what a worker has not acknowledged is among them
amqp://        every message that waits; they are handed out and given back
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import kombu
import redis

from tests.integration.console.running import RunningConsole

QUEUES: Final = ("celery", "training")


@dataclass(frozen=True, slots=True)
class Message:
    """A task on its way. text: its headers and its body in the clear."""

    task: str
    text: bytes
    redelivered: bool


def broker_url(console: RunningConsole) -> str:
    """Empty: the embedded one."""
    return console.environment.get("AMULET_BROKER_URL", "")


def messages(console: RunningConsole) -> list[Message]:
    """Tasks that wait, and on Redis those that a worker has taken and not acknowledged."""
    url = broker_url(console)
    if url.startswith("amqp"):
        return list(_of_rabbitmq(url))
    return [_message(document) for raw in everything(console) for document in _documents(raw)]


def everything(console: RunningConsole) -> list[bytes]:
    """Every byte that lies there, what is encoded in it decoded as well."""
    url = broker_url(console)
    if url.startswith("amqp"):
        return [each.text for each in messages(console)]
    if url.startswith("redis"):
        found = list(_of_redis(url))
    else:
        found = [file.read_bytes() for file in _folder(console).rglob("*") if file.is_file()]
    return [*found, *(_message(document).text for raw in found for document in _documents(raw))]


def deliver_again(console: RunningConsole) -> None:
    """Have the broker hand out once more what was handed out already: the embedded one each file a second time,
    Redis what nobody has acknowledged, as if the hour were over. Their workers look every hundred seconds."""
    url = broker_url(console)
    if url.startswith("redis"):
        untyped: Any = kombu
        with redis.Redis.from_url(url) as server, untyped.Connection(url) as connection:
            for place in server.zrange("unacked_index", 0, -1):  # type: ignore[union-attr]
                server.zadd("unacked_index", {place: 0})
            connection.channel().qos.restore_visible(interval=1)
        return
    for file in list(_folder(console).glob("*.msg")):
        name, queue = file.name.split(".", 1)
        file.with_name(f"{name}-again.{queue}").write_bytes(file.read_bytes())


def _folder(console: RunningConsole) -> Any:
    return console.layout.console / "broker" / "queue"


def _of_redis(url: str) -> Iterator[bytes]:
    with redis.Redis.from_url(url) as connection:
        for key in connection.scan_iter():
            yield key
            kind = connection.type(key)
            if kind == b"list":
                yield from connection.lrange(key, 0, -1)  # type: ignore[misc]
            elif kind == b"hash":
                yield from connection.hgetall(key).values()  # type: ignore[union-attr]
            elif kind == b"string":
                yield connection.get(key)  # type: ignore[misc]
            elif kind == b"zset":
                yield from connection.zrange(key, 0, -1)  # type: ignore[misc]
            elif kind == b"set":
                yield from connection.smembers(key)  # type: ignore[misc]
            elif kind != b"none":  # which one is that was emptied since it was listed
                raise AssertionError(f"nobody has looked into {key!r}, a {kind!r}")


def _of_rabbitmq(url: str) -> Iterator[Message]:
    """Closing the connection gives back whatever was handed out."""
    untyped: Any = kombu
    with untyped.Connection(url) as connection, connection.channel() as channel:
        for queue in QUEUES:
            try:
                channel.queue_declare(queue, passive=True)
            except connection.channel_errors:  # nobody has sent anything to it yet
                channel = connection.channel()
                continue
            while (message := channel.basic_get(queue)) is not None:
                headers, again = message.headers, bool(message.delivery_info["redelivered"])
                body = message.body if isinstance(message.body, bytes) else message.body.encode()
                text = json.dumps([headers, message.properties], default=str).encode() + body
                yield Message(headers["task"], text, again)


def _documents(raw: bytes) -> Iterator[dict[str, Any]]:
    """Kombu's messages in some bytes: one, or one within what Redis holds until it is acknowledged."""
    try:
        document = json.loads(raw)
    except ValueError:
        return
    for each in document if isinstance(document, list) else [document]:
        if isinstance(each, dict) and "headers" in each and "body" in each:
            yield each


def _message(document: dict[str, Any]) -> Message:
    try:
        body = base64.b64decode(document["body"], validate=True)
    except binascii.Error:
        body = document["body"].encode()
    headers = document["headers"]
    again = bool(headers.get("redelivered") or document["properties"].get("delivery_info", {}).get("redelivered"))
    return Message(headers["task"], json.dumps(document).encode() + body, again)
