"""YAML and JSON that somebody hands in: read, or refused in one line, whatever they hold and however deep they nest."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any, Final

import yaml

# What constructors of YAML raise of dates, numbers and binary that are none, and both parsers of what nests too deep.
_NO_VALUE: Final = (ValueError, ArithmeticError, LookupError, TypeError, AttributeError)
_MERGE: Final = "tag:yaml.org,2002:merge"


def of_yaml(text: str) -> Any:
    """Raises ValueError that says why it is no YAML; JSON is YAML, too."""
    return _loaded(text, _Once)


def of_yaml_texts(text: str) -> Any:
    """As `of_yaml`, of a document of names: every value is text as it is written, in Unicode's composed form (NFC).

    001, no and 2026-11-29 are then what folders are called, and no number, falsehood or date.
    """
    return _loaded(text, _Texts)


def of_json(text: str | bytes) -> Any:
    """Raises ValueError that says why it is no JSON."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


class _Once(yaml.SafeLoader):
    """Of a key that stands twice YAML's own loader keeps the last and says nothing."""

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            line = key.start_mark.line + 1
            if (key.tag, key.value) in lines:
                first = lines[key.tag, key.value]
                where = f"in lines {first} and {line}" if first != line else f"twice in line {line}"
                raise ValueError(f"{key.value} stands {where}, and means one thing only: remove one of the two")
            lines[key.tag, key.value] = line
        return node


class _Texts(_Once):
    # Of all that plain text may mean, `<<` alone is left.
    yaml_implicit_resolvers = {  # noqa: RUF012 - as the class above it has them
        "<": [(_MERGE, re.compile(r"<<\Z"))]
    }

    def compose_scalar_node(self, anchor: dict[Any, yaml.Node]) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        node.value = unicodedata.normalize("NFC", node.value)
        return node


def _loaded(text: str, loader: type[yaml.SafeLoader]) -> Any:
    try:
        return yaml.load(text, loader)  # noqa: S506 - both are safe ones
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (yaml.YAMLError, *_NO_VALUE) as error:
        raise ValueError(" ".join(str(error).split())) from None
