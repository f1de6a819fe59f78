"""What classes are called, and how they stand in a tree: `classes.yaml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import yaml

from training.data.errors import NamesWrong

NAMES_FILE: Final = "classes.yaml"
_DEPTH_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class ClassNames:
    """How people read a class, in each language, and where it stands in the class tree."""

    names: Mapping[str, str]  # language tag -> display name; "en" always present
    ancestors: tuple[str, ...] = ()  # group ids, nearest first; empty without a tree


def read_names(path: Path, classes: Sequence[str]) -> Mapping[str, ClassNames]:
    """The names of each class; made from the folder's name where the file or an entry is missing.

    Raises NamesWrong where the file cannot be read, names a class that is not there, or
    has a tree that is none.
    """
    document = _document(path)
    entries = _entries(path, document, "classes")
    groups = _entries(path, document, "groups")
    for name in entries:
        if name not in classes:
            near = get_close_matches(name, classes, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the folders are {', '.join(classes)}"
            raise NamesWrong(f"{path} names the class {name}, which has no folder: {hint}")
    return {
        label: ClassNames(
            names=_names_of(label, entries.get(label, {})), ancestors=_ancestors(path, label, entries, groups)
        )
        for label in classes
    }


def fallback_name(class_id: str) -> str:
    """A readable name from a folder's: `phra_sivali` is "Phra sivali"."""
    words = class_id.replace("_", " ").replace("-", " ").strip()
    return (words[:1].upper() + words[1:]) or class_id


def _document(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise NamesWrong(f"{path} cannot be read ({error})") from None
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise NamesWrong(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise NamesWrong(f"{path} must be a mapping with `classes`, not a {type(document).__name__}")
    unknown = sorted(str(key) for key in document if key not in ("classes", "groups"))
    if unknown:
        raise NamesWrong(f"{path} has the key {unknown[0]}: only `classes` and `groups` are known")
    return document


def _entries(path: Path, document: Mapping[str, Any], key: str) -> Mapping[str, Mapping[str, str]]:
    """The entries below one key, each checked to be text by text; a bare text is an English name."""
    found = document.get(key) or {}
    if not isinstance(found, dict):
        raise NamesWrong(f"{path}: `{key}` must map an id to its names")
    entries: dict[str, Mapping[str, str]] = {}
    for name, entry in found.items():
        entry = {"en": entry} if isinstance(entry, str) else entry
        if not isinstance(entry, dict) or not all(
            isinstance(tag, str) and isinstance(text, str) and text.strip() for tag, text in entry.items()
        ):
            raise NamesWrong(
                f"{path}: {name} must map language tags to names, as in `{name}: {{en: Some name, th: ชื่อ}}`"
            )
        entries[str(name)] = entry
    return entries


def _names_of(label: str, entry: Mapping[str, str]) -> Mapping[str, str]:
    names = {tag: text.strip() for tag, text in entry.items() if tag != "parent"}
    return {"en": fallback_name(label), **names}


def _ancestors(
    path: Path, label: str, entries: Mapping[str, Mapping[str, str]], groups: Mapping[str, Mapping[str, str]]
) -> tuple[str, ...]:
    above: list[str] = []
    parent = entries.get(label, {}).get("parent")
    while parent is not None:
        if parent not in groups:
            raise NamesWrong(
                f"{path}: {above[-1] if above else label} has the parent {parent}, which is not in `groups`"
            )
        if parent in above or len(above) >= _DEPTH_MAX:
            raise NamesWrong(f"{path}: the tree above {label} goes in a circle or is deeper than {_DEPTH_MAX}")
        above.append(parent)
        parent = groups[parent].get("parent")
    return tuple(above)
