from collections.abc import Callable

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorSet

from protos.compatibility import breaking_changes, current, released


def message(contracts: FileDescriptorSet, name: str) -> DescriptorProto:
    return next(each for file in contracts.file for each in file.message_type if each.name == name)


def remove_field(contracts: FileDescriptorSet) -> None:
    del message(contracts, "PredictRequest").field[0]


def renumber_field(contracts: FileDescriptorSet) -> None:
    message(contracts, "PredictRequest").field[0].number = 999


def retype_field(contracts: FileDescriptorSet) -> None:
    message(contracts, "Candidate").field[2].type = FieldDescriptorProto.TYPE_FLOAT


def rename_field(contracts: FileDescriptorSet) -> None:
    message(contracts, "Candidate").field[2].name = "chance"


def make_repeated(contracts: FileDescriptorSet) -> None:
    message(contracts, "PredictResponse").field[0].label = FieldDescriptorProto.LABEL_REPEATED


def leave_oneof(contracts: FileDescriptorSet) -> None:
    message(contracts, "StreamResult").field[1].ClearField("oneof_index")


def remove_message(contracts: FileDescriptorSet) -> None:
    file = next(file for file in contracts.file if file.name == "amulet/v1/prediction.proto")
    del file.message_type[0]


def remove_enum_value(contracts: FileDescriptorSet) -> None:
    file = next(file for file in contracts.file if file.name == "amulet/v1/vocabulary.proto")
    del file.enum_type[0].value[1]


def remove_method(contracts: FileDescriptorSet) -> None:
    file = next(file for file in contracts.file if file.service)
    del file.service[0].method[0]


def stop_streaming(contracts: FileDescriptorSet) -> None:
    file = next(file for file in contracts.file if file.service)
    next(method for method in file.service[0].method if method.client_streaming).client_streaming = False


def remove_file(contracts: FileDescriptorSet) -> None:
    del contracts.file[0]


@pytest.mark.parametrize(
    "change",
    [
        remove_field,
        renumber_field,
        retype_field,
        rename_field,
        make_repeated,
        leave_oneof,
        remove_message,
        remove_enum_value,
        remove_method,
        stop_streaming,
        remove_file,
    ],
)
def test_a_change_that_breaks_clients_is_named(change: Callable[[FileDescriptorSet], None]) -> None:
    after = FileDescriptorSet.FromString(released().SerializeToString())
    change(after)

    assert len(breaking_changes(released(), after)) == 1


def test_what_is_only_added_breaks_nobody() -> None:
    after = FileDescriptorSet.FromString(released().SerializeToString())
    message(after, "PredictRequest").field.add(name="later", number=100, type=FieldDescriptorProto.TYPE_STRING)
    after.file.add(name="amulet/v2/prediction.proto")

    assert breaking_changes(released(), after) == []


def test_a_reserved_field_may_go() -> None:
    after = FileDescriptorSet.FromString(released().SerializeToString())
    request = message(after, "PredictRequest")
    gone = request.field[0]
    request.reserved_range.add(start=gone.number, end=gone.number + 1)
    request.reserved_name.append(gone.name)
    del request.field[0]

    assert breaking_changes(released(), after) == []


def test_todays_contract_breaks_no_released_client() -> None:
    assert breaking_changes(released(), current()) == []
