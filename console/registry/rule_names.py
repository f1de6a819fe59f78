"""What people read for the rules that an archive is verified by; verdicts keep the words of `model_store`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

RULES: Final = {
    "upload": gettext_noop("complete upload"),
    "size": gettext_noop("size of the file"),
    "container": gettext_noop("form of the ZIP"),
    "members": gettext_noop("allowed files only"),
    "content": gettext_noop("files are what they are named"),
    "pickle": gettext_noop("no pickled code"),
    "handler": gettext_noop("known handler"),
    "card": gettext_noop("model card"),
    "manifest": gettext_noop("manifest"),
    "split": gettext_noop("split of the data"),
    "signature": gettext_noop("trusted signature"),
    "form": gettext_noop("canonical form"),
    "graph": gettext_noop("safe ONNX graph"),
    "reference": gettext_noop("reference distributions"),
    "golden": gettext_noop("golden photographs"),
    "scanner": gettext_noop("malware scanners"),
    "name": gettext_noop("new version name"),
}
# What is found where a rule holds, around what differs.
FOUND: Final = (
    gettext_noop("{size} bytes of at most {most}"),
    gettext_noop("{members} members; both headers of each agree and nothing lies beside them"),
    gettext_noop("all names are on the list, and none is missing"),
    gettext_noop("every checksum is right and every member is of the format that its name promises"),
    gettext_noop("no member reads as a pickle"),
    gettext_noop("the code is a reviewed version: {note}"),
    gettext_noop("{name} {version}, {classes} classes; it describes these members"),
    gettext_noop("TorchServe will serve it as {name} {version} from {weights}"),
    gettext_noop("no photograph stands on both sides of the split"),
    gettext_noop("signed by the trusted key {key}"),
    gettext_noop("every byte is either signed or fixed by the format"),
    gettext_noop("{nodes} nodes, opset {opset}, {classes} classes, {detectors}"),
    gettext_noop("{distributions} distributions and {tables} tables of counts"),
    gettext_noop("{photographs} photographs of {width} x {height} pixels"),
    gettext_noop("picklescan read {members} members and found no imports"),
    gettext_noop("{name} is a new name"),
)
# Why a rule was not looked at. What it needed is a rule again, and named as one.
NOT_RUN: Final = (gettext_noop("an earlier rule failed"), gettext_noop("it needs the rule {rule}, which failed"))
_FORMS: Final[Mapping[str, re.Pattern[str]]] = {
    each: re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)", re.escape(each))) for each in (*FOUND, *NOT_RUN)
}
# Those of them that are counted, and no names.
_COUNTS: Final = frozenset({"size", "most", "members", "nodes", "classes", "distributions", "tables", "photographs"})
_LONG_NUMBER: Final = re.compile(r"(?<=\s)\d{5,}(?=\s)")
# What a broken rule means; its verdict says in English what was found, in words that no catalogue can hold.
REFUSALS: Final = {
    "REASON_ARCHIVE_UNREADABLE": gettext_noop("The file cannot be read as an archive."),
    "REASON_ARCHIVE_TOO_LARGE": gettext_noop("The archive, or something in it, is too large."),
    "REASON_ARCHIVE_PATH_UNSAFE": gettext_noop("A file in it would be written outside its folder."),
    "REASON_ARCHIVE_MEMBER_NOT_ALLOWED": gettext_noop("It holds a file that no archive may hold."),
    "REASON_ARCHIVE_MEMBER_MISSING": gettext_noop("A file that every archive has is missing."),
    "REASON_ARCHIVE_PICKLE": gettext_noop("It holds pickled code, which is never loaded."),
    "REASON_ARCHIVE_HANDLER_NOT_ALLOWED": gettext_noop("Its handler is not on the list of known ones."),
    "REASON_ARCHIVE_CARD_INVALID": gettext_noop("Its model card is not as it has to be."),
    "REASON_ARCHIVE_GRAPH_INVALID": gettext_noop("Its graph is damaged, or does what no graph may do."),
    "REASON_ARCHIVE_UNSIGNED": gettext_noop("Nobody signed it."),
    "REASON_ARCHIVE_SIGNATURE_INVALID": gettext_noop("Its signature does not fit its content."),
    "REASON_ARCHIVE_SIGNER_NOT_TRUSTED": gettext_noop("Whoever signed it is not trusted here."),
    "REASON_ARCHIVE_MANIFEST_INVALID": gettext_noop("Its manifest is not as it has to be."),
    "REASON_ARCHIVE_SCANNER": gettext_noop("A malware scanner found something, or could not look."),
    "REASON_ARCHIVE_SPLIT_LEAKS": gettext_noop("Photographs that it was tested with were trained on."),
    "REASON_ARCHIVE_DUPLICATE": gettext_noop("A version of this name is here already."),
}


def found_text(message: str) -> str:
    """What was found where a rule holds, or why it was not looked at, in the reader's language; another sentence as
    it is.
    """
    for sentence, form in _FORMS.items():
        if found := form.fullmatch(message):
            return _(sentence).format(**{name: _told(name, value) for name, value in found.groupdict().items()})
    return message


def broken_text(message: str) -> str:
    """What was found where a rule is broken, in the verdict's own words: its long numbers as pages write numbers."""
    return _LONG_NUMBER.sub(lambda number: number_format(int(number[0]), force_grouping=True), message)


def _told(name: str, value: str) -> str:
    if name == "rule":
        return rule_name(value)
    return number_format(int(value), force_grouping=True) if name in _COUNTS and value.isdecimal() else value


def refusal_text(reason: str | None) -> str:
    """What a broken rule means in the reader's language; "" where none was broken."""
    return _(REFUSALS[reason]) if reason in REFUSALS else ""


def rule_name(rule: str) -> str:
    """The rule in the reader's language; an unknown one as it is."""
    return _(RULES[rule]) if rule in RULES else rule
