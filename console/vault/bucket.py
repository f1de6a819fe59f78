"""Encrypted objects in a bucket of S3, or of a server that speaks as it does: PREFIX/ab/abcdef….bin.

What is deleted is deleted in all its versions: a bucket that keeps them would otherwise hold what a
certificate says is gone. A server that has no versions says so, and is asked for its one.

boto3 is imported here and only where a bucket is named: it is a fifth of a web process's memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import (  # type: ignore[import-untyped]
    BotoCoreError,
    ClientError,
    ConfigParseError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.session import Session  # type: ignore[import-untyped]

from protos.addresses import BucketAddress

# A batch of events waits for its photographs with consents locked: the disk of a server answers sooner than this.
CONNECT_S_MAX: Final = 3.0
READ_S_MAX: Final = 8.0
_TRIES: Final = 2
_SIDE_BY_SIDE: Final = 8  # requests; each waits for a network, and nothing else
_REGION: Final = "us-east-1"  # what servers that have no regions take a signature for
_GONE: Final = "NoSuchKey"
_NO_VERSIONS: Final = 501
_NO_KEY: Final = (NoCredentialsError, PartialCredentialsError, ProfileNotFound, ConfigParseError)
_T = TypeVar("_T")
_Each = TypeVar("_Each")


class Bucket:
    """An `ObjectStore` for any number of machines. Make it in the process that uses it: connections do not fork."""

    def __init__(self, address: BucketAddress, *, key_file: Path | None, ca_file: Path | None) -> None:
        """key_file: credentials as Amazon's tools write them, profile "default"; None: what these tools would find.

        ca_file: the authorities of the endpoint's certificate (PEM); None: the public ones.

        Raises OSError when the file holds no credentials.
        """
        self._bucket = address.name
        self._before = f"{address.prefix}/" if address.prefix else ""
        with _as_os_errors():
            self._client = _client(address, key_file, ca_file)

    def write(self, objects: Iterable[tuple[UUID, bytes]]) -> None:
        def put(named: tuple[UUID, bytes]) -> None:
            object_id, content = named
            with _as_os_errors():
                self._client.put_object(Bucket=self._bucket, Key=self._key(object_id), Body=content)

        _side_by_side(put, objects)

    def read(self, object_id: UUID) -> bytes:
        with _as_os_errors():
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key(object_id))
            content: bytes = answer["Body"].read()
        return content

    def held(self, object_ids: Iterable[UUID]) -> int:
        return sum(bool(versions) for versions in _side_by_side(self._versions, object_ids))

    def delete(self, object_ids: Iterable[UUID]) -> None:
        def delete(object_id: UUID) -> None:
            for version in self._versions(object_id):
                with _as_os_errors():
                    self._client.delete_object(Bucket=self._bucket, Key=self._key(object_id), **version)

        _side_by_side(delete, object_ids)

    def older_than(self, timestamp_s: float, *, shelf: int) -> Iterator[UUID]:
        start = f"{self._before}{shelf:02x}/"
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=start)
        with _as_os_errors():
            for page in pages:
                for found in page.get("Contents", ()):
                    object_id = _id_in(found["Key"].removeprefix(start))
                    if object_id is not None and found["LastModified"].timestamp() < timestamp_s:
                        yield object_id

    def look(self) -> None:
        """Whether it is there and lets us list it, as a sweep and an erasure must. Raises OSError."""
        with _as_os_errors():
            self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._before, MaxKeys=1)

    def _versions(self, object_id: UUID) -> list[dict[str, str]]:
        """What names each version of an object to S3, marks that it was deleted among them."""
        key = self._key(object_id)
        pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=key)
        with _as_os_errors():
            try:
                return [
                    {"VersionId": each["VersionId"]}
                    for page in pages
                    for each in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
                    if each["Key"] == key
                ]
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] != _NO_VERSIONS:
                    raise
            listed = self._client.list_objects_v2(Bucket=self._bucket, Prefix=key)
            return [{} for each in listed.get("Contents", ()) if each["Key"] == key]

    def _key(self, object_id: UUID) -> str:
        name = object_id.hex
        return f"{self._before}{name[:2]}/{name}.bin"


def _client(address: BucketAddress, key_file: Path | None, ca_file: Path | None) -> Any:
    session = Session(profile="default" if key_file else None)
    if key_file:
        session.set_config_variable("credentials_file", str(key_file))
    return boto3.Session(botocore_session=session).client(
        "s3",
        endpoint_url=address.endpoint or None,
        region_name=address.region or (_REGION if address.endpoint else None),
        verify=str(ca_file) if ca_file else None,
        config=Config(
            connect_timeout=CONNECT_S_MAX,
            read_timeout=READ_S_MAX,
            retries={"mode": "standard", "total_max_attempts": _TRIES},
            max_pool_connections=_SIDE_BY_SIDE,
            s3={"addressing_style": "path"} if address.endpoint else None,
            # An object is authenticated when it is opened, and many servers know none of Amazon's newer sums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def _side_by_side(work: Callable[[_Each], _T], over: Iterable[_Each]) -> list[_T]:
    """Do it over each, a few at once and in no order; each is taken only when there is room for it.

    Raises what the first failed one raised, once those under way have ended: a bucket that is away is not asked about
    everything that is left.
    """
    results: list[_T] = []
    with ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="bucket") as pool:
        under_way: set[Future[_T]] = set()
        for each in over:
            if len(under_way) == _SIDE_BY_SIDE:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                results += [one.result() for one in done]
            under_way.add(pool.submit(work, each))
        results += [one.result() for one in under_way]
    return results


def _id_in(name: str) -> UUID | None:
    """The object that is named so; None for what is not ours."""
    try:
        return UUID(name.removesuffix(".bin")) if name.endswith(".bin") else None
    except ValueError:
        return None


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """In the words of a disk, which the callers know. No part of them is a key or a signature."""
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == _GONE:
            raise FileNotFoundError(f"the bucket has no such object ({code})") from error
        raise OSError(f"the bucket refuses: {code}") from error
    except _NO_KEY as error:
        raise OSError(f"there are no credentials for the bucket ({type(error).__name__})") from error
    except BotoCoreError as error:
        raise OSError(f"the bucket does not answer: {type(error).__name__}") from error
