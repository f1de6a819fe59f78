"""What is wrong with a field of a call is said in words of its own limits, in both languages."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from django.utils.translation import override
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

import console
from console.site.problem import answer
from console.site.roles import Role
from console.staff.field_words import says_itself, sentence
from console.staff.rest import checked
from tests.unit.console.people import browser, caller, member

# No call comes as far: JSON has types, which are checked before, and no number that is too long for its text.
UNREACHED = {"max_string_length", "overflow", "invalid_unicode"}
DAYS = "2026-12-31T09:30:00+07:00"


class Every(serializers.Serializer[Any]):
    """A field of each kind that a call has, with limits."""

    text = serializers.CharField(max_length=3, min_length=2)
    count = serializers.IntegerField(min_value=0, max_value=2**31 - 1, required=False)
    least = serializers.IntegerField(min_value=1, required=False)
    most = serializers.FloatField(max_value=0.5, required=False)
    kind = serializers.ChoiceField(choices=["red", "blue"], required=False)
    at = serializers.DateTimeField(required=False)
    names = serializers.ListField(child=serializers.CharField(max_length=2), max_length=2, required=False)
    pair = serializers.ListField(child=serializers.IntegerField(), min_length=2, max_length=2, required=False)
    some = serializers.ListField(child=serializers.CharField(), allow_empty=False, required=False)
    id = serializers.UUIDField(required=False)
    own = serializers.IntegerField(
        min_value=1, required=False, error_messages={"min_value": "A box has at least one thing."}
    )


def said(**given: Any) -> tuple[str, str]:
    """Which field a call is refused for, and with which words."""
    with pytest.raises(ValidationError) as refused:
        checked(Every(data={"text": "abc", **given}))
    problem = answer(refused.value, {})
    assert problem is not None
    return problem.data["field"], problem.data["detail"]


@pytest.mark.parametrize(
    ("given", "field", "english", "thai"),
    [
        ({"text": "abcd"}, "text", "This has at most 3 characters.", "ค่านี้ยาวได้ไม่เกิน 3 ตัวอักษร"),
        ({"text": "a"}, "text", "This has at least 2 characters.", "ค่านี้ต้องยาวอย่างน้อย 2 ตัวอักษร"),
        ({"text": ""}, "text", "This must not be empty.", "ค่านี้ต้องไม่ว่าง"),
        ({"text": None}, "text", "This must not be empty.", "ค่านี้ต้องไม่ว่าง"),
        ({"count": -1}, "count", "This must be 0 to 2147483647.", "ค่านี้ต้องอยู่ระหว่าง 0 ถึง 2147483647"),
        ({"count": 2**31}, "count", "This must be 0 to 2147483647.", "ค่านี้ต้องอยู่ระหว่าง 0 ถึง 2147483647"),
        ({"least": 0}, "least", "This must be at least 1.", "ค่านี้ต้องไม่น้อยกว่า 1"),
        ({"most": 0.6}, "most", "This must be at most 0.5.", "ค่านี้ต้องไม่เกิน 0.5"),
        ({"most": "x"}, "most", "This must be a number.", "ค่านี้ต้องเป็นตัวเลข"),
        ({"kind": "green"}, "kind", "This must be one of: red, blue.", "ค่านี้ต้องเป็นค่าใดค่าหนึ่งต่อไปนี้: red, blue"),
        ({"at": "soon"}, "at", f"This must be a time such as {DAYS}.", f"ค่านี้ต้องเป็นเวลา เช่น {DAYS}"),
        ({"names": ["a", "b", "c"]}, "names", "This has at most 2 entries.", "ค่านี้มีได้ไม่เกิน 2 รายการ"),
        ({"names": ["a", "bcd"]}, "names.1", "This has at most 2 characters.", "ค่านี้ยาวได้ไม่เกิน 2 ตัวอักษร"),
        ({"pair": [1]}, "pair", "This has exactly 2 entries.", "ค่านี้ต้องมี 2 รายการพอดี"),
        ({"some": []}, "some", "This must not be empty.", "ค่านี้ต้องไม่ว่าง"),
        ({"own": 0}, "own", "A box has at least one thing.", "A box has at least one thing."),
    ],
)
def test_each_limit_is_said_by_itself(given: dict[str, Any], field: str, english: str, thai: str) -> None:
    with override("en"):
        assert said(**given) == (field, english)
    with override("th"):
        assert said(**given) == (field, thai)


def test_what_is_missing_is_said_to_be() -> None:
    with override("th"), pytest.raises(ValidationError) as refused:
        checked(Every(data={}))
    assert refused.value.get_codes() == {"text": ["required"]}
    assert refused.value.detail["text"] == ["ยังไม่ได้ระบุค่านี้"]  # type: ignore[index,call-overload]  # of a mapping


def _that_read_calls() -> Iterator[type[serializers.Serializer[Any]]]:
    """Every serializer that the console reads a call with."""
    for module in pkgutil.walk_packages(console.__path__, "console."):
        if module.name.endswith("api"):
            found = importlib.import_module(module.name)
            for name in re.findall(r"(?<![.\w])(?:read|checked)\((\w+)[,(]", Path(str(found.__file__)).read_text()):
                yield getattr(found, name)


def test_no_field_of_any_call_is_left_to_drfs_words() -> None:
    left, seen = set(), 0
    for kind in _that_read_calls():
        for name, field in kind().fields.items():
            each = [field, field.child] if isinstance(field, serializers.ListField) else [field]
            for part in each:
                if field.read_only or isinstance(part, serializers.BaseSerializer):
                    continue
                for code in set(part.error_messages) - UNREACHED:
                    if code.startswith(("min_", "max_")) and getattr(part, code, None) is None:
                        continue
                    seen += 1
                    if not says_itself(part, code) and not sentence(part, code):
                        left.add((kind.__name__, name, code))
    assert seen > 100
    assert not left


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("language", "said_of_none"),
    [("en", "An archive has at least one byte: this one is empty."), ("th", "ไฟล์นี้ว่างเปล่า")],
)
@pytest.mark.usefixtures("static_files")
def test_an_empty_archive_is_said_to_be_one_by_script_and_on_the_page(language: str, said_of_none: str) -> None:
    script = caller(Role.MODEL_ENGINEER)
    empty = {"filename": "a.mar", "size": 0, "sha256": "0" * 64}
    refused = script.post("/api/v1/uploads/", empty, headers={"Accept-Language": language})
    assert (refused.status_code, refused.json()["field"]) == (400, "size")
    assert said_of_none in refused.json()["detail"]
    wrong = script.post("/api/v1/uploads/", {**empty, "size": 1, "sha256": "x"}, headers={"Accept-Language": language})
    assert "SHA-256" in wrong.json()["detail"]
    desk = browser(member(Role.MODEL_ENGINEER))
    for page, field in (("registry_modelversion_upload", "archive"), ("sheets_sheet_take_in", "file")):
        file = SimpleUploadedFile("a.mar", b"")
        shown = desk.post(
            reverse(f"admin:{page}"), {field: file}, headers={"Accept-Language": language}
        ).content.decode()
        assert ("ไฟล์นี้ว่างเปล่า" if language == "th" else "is empty") in shown
        assert "submitted file" not in shown
