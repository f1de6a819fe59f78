"""Refuse a change that would break clients of a released contract.

    python -m protos.compatibility             # exit 1 and name what breaks
    python -m protos.compatibility --release   # freeze today's contract as the released one

The released contract is a FileDescriptorSet kept as JSON in `released/`. Allowed: new files,
messages, fields, enum values, services and methods. Refused, as in the protobuf guide's
"updating a message type": a name or number that goes away without being reserved, and a
changed number, type, cardinality or oneof; also a method whose messages or streaming change.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import grpc_tools
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from grpc_tools import protoc

from protos.generate import ROOT, sources

RELEASED: Final = ROOT / "released" / "contracts.json"
OURS: Final = "amulet/"  # TorchServe's contract is not ours to release


def current(root: Path = ROOT) -> FileDescriptorSet:
    """The contracts as the `.proto` files below `root` stand. Raises RuntimeError when one does not compile."""
    own = [str(path) for path in sources(root) if str(path).startswith(OURS)]
    with TemporaryDirectory() as folder:
        out = Path(folder, "set.binpb")
        well_known = Path(grpc_tools.__file__).parent / "_proto"
        status = protoc.main(["protoc", f"-I{root}", f"-I{well_known}", f"--descriptor_set_out={out}", *own])
        if status != 0:
            raise RuntimeError(f"protoc failed with exit status {status}")
        return FileDescriptorSet.FromString(out.read_bytes())


def released(path: Path = RELEASED) -> FileDescriptorSet:
    return json_format.Parse(path.read_text(), FileDescriptorSet())


def breaking_changes(before: FileDescriptorSet, after: FileDescriptorSet) -> list[str]:
    """One sentence for each change between the two that a client of `before` could not bear."""
    files = {file.name: file for file in after.file}
    return [
        complaint
        for old in before.file
        for complaint in (_file(old, files[old.name]) if old.name in files else [f"{old.name} is gone"])
    ]


def _file(old: FileDescriptorProto, new: FileDescriptorProto) -> Iterator[str]:
    if old.package != new.package:
        yield f"{old.name}: package {old.package} became {new.package}"
    yield from _messages(old.package, old.message_type, new.message_type)
    yield from _enums(old.package, old.enum_type, new.enum_type)
    yield from _services(old.package, old.service, new.service)


def _messages(scope: str, old: Sequence[DescriptorProto], new: Sequence[DescriptorProto]) -> Iterator[str]:
    by_name = {message.name: message for message in new}
    for before in old:
        name = f"{scope}.{before.name}"
        after = by_name.get(before.name)
        if after is None:
            yield f"message {name} is gone"
            continue
        yield from _fields(name, before, after)
        yield from _messages(name, before.nested_type, after.nested_type)
        yield from _enums(name, before.enum_type, after.enum_type)


def _fields(scope: str, old: DescriptorProto, new: DescriptorProto) -> Iterator[str]:
    by_number = {field.number: field for field in new.field}
    reserved = {number for block in new.reserved_range for number in range(block.start, block.end)}
    for before in old.field:
        name = f"field {scope}.{before.name} = {before.number}"
        after = by_number.get(before.number)
        if after is None:
            if before.number not in reserved or before.name not in new.reserved_name:
                yield f"{name} is gone without its number and name being reserved"
        elif _shape(before, old) != _shape(after, new):
            yield f"{name} became {after.name}: {_shape(before, old)} -> {_shape(after, new)}"


def _shape(field: FieldDescriptorProto, message: DescriptorProto) -> tuple[str, str, str, str, str]:
    """What a client relies on: name, type, cardinality, oneof."""
    oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
    return (
        field.name,
        FieldDescriptorProto.Type.Name(field.type),
        field.type_name,
        FieldDescriptorProto.Label.Name(field.label),
        oneof,
    )


def _enums(scope: str, old: Sequence[EnumDescriptorProto], new: Sequence[EnumDescriptorProto]) -> Iterator[str]:
    by_name = {enum.name: enum for enum in new}
    for before in old:
        name = f"{scope}.{before.name}"
        after = by_name.get(before.name)
        if after is None:
            yield f"enum {name} is gone"
            continue
        values = {value.name: value.number for value in after.value}
        for value in before.value:
            if values.get(value.name) != value.number:
                yield f"enum value {name}.{value.name} = {value.number} is gone or has another number"


def _services(
    scope: str, old: Sequence[ServiceDescriptorProto], new: Sequence[ServiceDescriptorProto]
) -> Iterator[str]:
    by_name = {service.name: service for service in new}
    for before in old:
        name = f"{scope}.{before.name}"
        after = by_name.get(before.name)
        if after is None:
            yield f"service {name} is gone"
            continue
        methods = {method.name: method for method in after.method}
        for method in before.method:
            found = methods.get(method.name)
            if found is None:
                yield f"method {name}.{method.name} is gone"
            elif (found.input_type, found.output_type, found.client_streaming, found.server_streaming) != (
                method.input_type,
                method.output_type,
                method.client_streaming,
                method.server_streaming,
            ):
                yield f"method {name}.{method.name} takes or gives something else"


def main(arguments: list[str]) -> int:
    if arguments == ["--release"]:
        RELEASED.parent.mkdir(exist_ok=True)
        RELEASED.write_text(json_format.MessageToJson(current(), indent=1, sort_keys=True) + "\n")
        return 0
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    complaints = breaking_changes(released(), current())
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
