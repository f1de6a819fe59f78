"""What people read for the rules that an archive is verified by; verdicts keep the words of `model_store`."""

from __future__ import annotations

from typing import Final

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


def rule_name(rule: str) -> str:
    """The rule in the reader's language; an unknown one as it is."""
    return _(RULES[rule]) if rule in RULES else rule
