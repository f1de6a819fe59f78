"""YAML and JSON that somebody hands in: read, or refused in one line, whatever they hold and however deep they nest."""

from __future__ import annotations

import json
from typing import Any, Final

import yaml

# What constructors of YAML raise of dates, numbers and binary that are none, and both parsers of what nests too deep.
_NO_VALUE: Final = (ValueError, ArithmeticError, LookupError, TypeError, AttributeError)


def of_yaml(text: str) -> Any:
    """Raises ValueError that says why it is no YAML; JSON is YAML, too."""
    try:
        return yaml.safe_load(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (yaml.YAMLError, *_NO_VALUE) as error:
        raise ValueError(" ".join(str(error).split())) from None


def of_json(text: str | bytes) -> Any:
    """Raises ValueError that says why it is no JSON."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
