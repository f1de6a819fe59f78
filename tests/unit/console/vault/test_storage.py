"""What every place for objects must do, whichever it is: a folder, and buckets of real servers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from console.vault.bucket import CONNECT_S_MAX, READ_S_MAX, Bucket
from console.vault.folder import Folder
from console.vault.storage import SHELVES, ObjectStore
from protos.addresses import bucket
from tests.object_servers import BUCKET, ObjectServer, moto, rclone

Put = Callable[[UUID, bytes], None]


def opened(server: ObjectServer) -> Bucket:
    return Bucket(bucket(server.url), key_file=server.key_file, ca_file=None)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ObjectServer]]:
    with ExitStack() as stack:
        yield {
            "rclone": stack.enter_context(rclone(tmp_path_factory.mktemp("rclone"))),
            "versions": stack.enter_context(moto(tmp_path_factory.mktemp("versions"))),
            "no versions": stack.enter_context(moto(tmp_path_factory.mktemp("plain"), versioned=False)),
        }


@pytest.fixture(params=["folder", "rclone", "versions", "no versions"])
def store(request: pytest.FixtureRequest, servers: dict[str, ObjectServer], tmp_path: Path) -> ObjectStore:
    return Folder(tmp_path) if request.param == "folder" else opened(servers[request.param])


def test_what_is_written_is_read_and_what_is_deleted_is_gone(store: ObjectStore) -> None:
    kept, gone = uuid4(), uuid4()
    store.write([(kept, b"\0kept\xff"), (gone, b"")])
    assert (store.read(kept), store.read(gone)) == (b"\0kept\xff", b"")
    assert store.held([kept, gone, uuid4()]) == 2

    store.delete([gone])

    assert store.read(kept) == b"\0kept\xff"
    assert store.held([kept, gone]) == 1
    with pytest.raises(FileNotFoundError):
        store.read(gone)
    store.delete([gone, uuid4()])  # as a task that runs twice does


def test_many_are_written_taken_one_by_one_and_deleted(store: ObjectStore) -> None:
    ids = [uuid4() for _ in range(40)]
    taken: list[UUID] = []

    def objects() -> Iterator[tuple[UUID, bytes]]:
        for object_id in ids:
            taken.append(object_id)
            yield object_id, object_id.bytes * 4096

    store.write(objects())

    assert taken == ids
    assert all(store.read(object_id) == object_id.bytes * 4096 for object_id in ids)
    assert store.held(ids) == 40
    store.delete(ids)
    assert store.held(ids) == 0


def test_a_shelf_names_its_own_that_are_older(store: ObjectStore) -> None:
    mine, others = (UUID(bytes=bytes([first]) + os.urandom(15)) for first in (0xAB, 0xAC))
    store.write([(mine, b"1"), (others, b"2")])
    soon = time.time() + 60

    assert mine in set(store.older_than(soon, shelf=0xAB))
    assert others not in set(store.older_than(soon, shelf=0xAB))
    assert others in {each for shelf in range(SHELVES) for each in store.older_than(soon, shelf=shelf)}
    assert not set(store.older_than(time.time() - 3600, shelf=0xAB))


def test_a_bucket_that_keeps_versions_keeps_none_of_what_is_deleted(servers: dict[str, ObjectServer]) -> None:
    server, object_id = servers["versions"], uuid4()
    store, client = opened(server), server.client()
    store.write([(object_id, b"first")])
    key = f"kept/{object_id.hex[:2]}/{object_id.hex}.bin"
    client.put_object(Bucket=BUCKET, Key=key, Body=b"second")
    client.delete_object(Bucket=BUCKET, Key=key)  # leaves a mark, and both versions under it
    client.put_object(Bucket=BUCKET, Key=f"{key}.neighbour", Body=b"not ours")
    assert store.held([object_id]) == 1
    with pytest.raises(FileNotFoundError):
        store.read(object_id)

    store.delete([object_id])

    left = client.list_object_versions(Bucket=BUCKET, Prefix=key)
    assert [each["Key"] for each in left["Versions"]] == [f"{key}.neighbour"]
    assert "DeleteMarkers" not in left
    assert store.held([object_id]) == 0


def test_what_is_not_ours_is_passed_over(servers: dict[str, ObjectServer]) -> None:
    server, object_id = servers["rclone"], uuid4()
    shelf = object_id.bytes[0]
    for name in ("readme.txt", "not-an-id.bin", f"{object_id.hex}.bin"):
        server.client().put_object(Bucket=BUCKET, Key=f"kept/{shelf:02x}/{name}", Body=b"")
    server.client().put_object(Bucket=BUCKET, Key=f"{shelf:02x}/{uuid4().hex}.bin", Body=b"")  # before our prefix

    found = set(opened(server).older_than(time.time() + 60, shelf=shelf))

    assert object_id in found
    assert all(opened(server).held([each]) for each in found)


def test_a_key_that_is_not_let_in_is_said_without_it(servers: dict[str, ObjectServer], tmp_path: Path) -> None:
    strangers = tmp_path / "credentials"
    strangers.write_text("[default]\naws_access_key_id = stranger\naws_secret_access_key = canary\n")
    store = Bucket(bucket(servers["rclone"].url), key_file=strangers, ca_file=None)

    for refused in (lambda: store.write([(uuid4(), b"1")]), lambda: store.read(uuid4()), store.look):
        with pytest.raises(OSError, match="the bucket refuses") as error:
            refused()
        assert not isinstance(error.value, FileNotFoundError)
        assert "canary" not in repr(error.value)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[another]\naws_access_key_id = a\naws_secret_access_key = canary\n",
        "[default]\naws_access_key_id = canary\n",
        "canary",
    ],
    ids=["empty", "another profile", "half a key", "no such file at all"],
)
def test_a_file_without_credentials_is_said_to_be_one(
    servers: dict[str, ObjectServer], tmp_path: Path, content: str
) -> None:
    file = tmp_path / "credentials"
    file.write_text(content)
    with pytest.raises(OSError, match="no credentials for the bucket") as error:
        Bucket(bucket(servers["rclone"].url), key_file=file, ca_file=None).look()
    assert "canary" not in str(error.value)


def test_a_bucket_that_is_not_there_is_no_empty_one(servers: dict[str, ObjectServer]) -> None:
    server = servers["rclone"]
    store = Bucket(bucket(server.url.replace(BUCKET, "nobodys")), key_file=server.key_file, ca_file=None)

    for asked in (store.look, lambda: store.held([uuid4()]), lambda: store.delete([uuid4()])):
        with pytest.raises(OSError, match="NoSuchBucket"):
            asked()
    with pytest.raises(OSError, match="NoSuchBucket") as error:
        store.read(uuid4())
    assert not isinstance(error.value, FileNotFoundError)


def test_a_bucket_that_is_away_or_hangs_is_not_asked_about_everything(tmp_path: Path) -> None:
    with rclone(tmp_path) as server:
        store = opened(server)
        store.look()
        os.kill(server.process.pid, signal.SIGSTOP)
        taken: list[UUID] = []

        def objects() -> Iterator[tuple[UUID, bytes]]:
            for _ in range(1000):
                taken.append(uuid4())
                yield taken[-1], b"1"

        begin_s = time.monotonic()
        with pytest.raises(OSError, match="does not answer"):
            store.write(objects())
        assert len(taken) < 20
        assert time.monotonic() - begin_s < 3 * (CONNECT_S_MAX + READ_S_MAX)
        os.kill(server.process.pid, signal.SIGCONT)
    with pytest.raises(OSError, match="does not answer"):
        store.delete(taken)
