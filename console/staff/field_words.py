"""What a field of a call must be, said by its own limits and in the caller's language.

DRF says "Ensure this value is greater than or equal to 1.", and in Thai half of it, or English.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail

_Field = serializers.Field[Any, Any, Any, Any]


def reworded(field: _Field, errors: Any) -> Any:
    """DRF's errors of a field, or of a serializer's fields by name, each in our words where there are some."""
    if isinstance(errors, Mapping):
        return {name: reworded(_within(field, name), inner) for name, inner in errors.items()}
    if isinstance(errors, list | tuple):
        return [reworded(field, inner) for inner in errors]
    code = getattr(errors, "code", "")
    if says_itself(field, code):
        return errors
    return ErrorDetail(sentence(field, code) or str(errors), code)


def says_itself(field: _Field, code: str) -> bool:
    """Whether its serializer gives a field words of its own for what is wrong, and not those that DRF gives each."""
    usual: dict[str, Any] = {}
    for kind in reversed(type(field).__mro__):
        usual |= getattr(kind, "default_error_messages", {})
    return code not in usual or field.error_messages[code] != usual[code]


def sentence(field: _Field, code: str) -> str:
    """What is wrong, by DRF's name for it, and what would be right; "" where we have no words for it."""
    match code:
        case "required":
            return _("This is missing.")
        case "null" | "blank" | "empty":
            return _("This must not be empty.")
        case "min_value" | "max_value":
            return _range(field.min_value, field.max_value)  # type: ignore[attr-defined]  # only such fields say so
        case "min_length" | "max_length":
            return _length(field, code)
        case "invalid_choice":
            names = ", ".join(str(name) for name in field.choices)  # type: ignore[attr-defined]  # as above
            return _("This must be one of: {names}.").format(names=names)
    return _form(field)


def _range(least: float | None, most: float | None) -> str:
    bounds = {"least": _plain(least), "most": _plain(most)}
    if least is not None and most is not None:
        return _("This must be {least} to {most}.").format(**bounds)
    if least is not None:
        return _("This must be at least {least}.").format(**bounds)
    return _("This must be at most {most}.").format(**bounds)


def _plain(number: float | None) -> str:
    """Whole numbers to the last digit."""
    return str(int(number)) if number is not None and float(number).is_integer() else str(number)


def _length(field: Any, code: str) -> str:
    if isinstance(field, serializers.CharField):
        if code == "max_length":
            return _("This has at most {most} characters.").format(most=field.max_length)
        return _("This has at least {least} characters.").format(least=field.min_length)
    if field.min_length == field.max_length:
        return _("This has exactly {count} entries.").format(count=field.max_length)
    if code == "max_length":
        return _("This has at most {most} entries.").format(most=field.max_length)
    return _("This has at least {least} entries.").format(least=field.min_length)


def _form(field: _Field) -> str:
    match field:
        case serializers.DateTimeField():
            return _("This must be a time such as {example}.").format(example="2026-12-31T09:30:00+07:00")
        case serializers.UUIDField():
            return _("This must be a UUID, such as {example}.").format(example="01a2278c-3d96-76e4-8592-545e8107d2e4")
        case serializers.BooleanField():
            return _("This must be {what}.").format(what=_("true or false"))
        case serializers.IntegerField():
            return _("This must be {what}.").format(what=_("a whole number"))
        case serializers.FloatField():
            return _("This must be {what}.").format(what=_("a number"))
        case serializers.ListField() | serializers.MultipleChoiceField():
            return _("This must be {what}.").format(what=_("a list"))
        case serializers.RegexField():
            return ""  # a pattern is no sentence: its serializer has one
        case serializers.CharField():
            return _("This must be {what}.").format(what=_("a text"))
    return ""


def _within(field: Any, name: Any) -> _Field:
    if isinstance(field, serializers.ListField):
        inner: _Field = field.child
        return inner
    found: _Field = field.fields.get(name, field) if isinstance(field, serializers.Serializer) else field
    return found
