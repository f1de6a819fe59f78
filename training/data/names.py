"""What classes are called, and how they stand in a tree: `classes.yaml`.

levels:                                          may be missing: level_1, level_2, ...
  mould: {en: Mould, th: พิมพ์}                   what stands just above the classes
  temple: {en: Temple, th: วัด}
groups:
  standing: {en: Standing figures, th: ปางยืน, parent: wat_nong}
  wat_nong: {en: Wat Nong, th: วัดหนอง}
classes:
  phra_sivali: {en: Phra Sivali, th: พระสีวลี, parent: standing}
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from training import documents
from training.data.errors import NamesWrong
from training.listing import counted, listed

NAMES_FILE: Final = "classes.yaml"
# Of an answer at no level above: a caller may ask for it, so no level may be called that.
CLASS_LEVEL: Final = "class"
_KEYS: Final = ("classes", "groups", "levels")
_DEPTH_MAX: Final = 8
# What the card and the wire accept.
_GROUP_ID: Final = re.compile(r"[^/\\\x00-\x1f]{1,128}")
_LEVEL_ID: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_NAME_CHARACTERS_MAX: Final = 4000
# Thai vowels above and below, tones and the nikhahit: whichever is typed first, they stand over one another.
_MARKS: Final = re.compile("[\u0e31\u0e34-\u0e3a\u0e47-\u0e4e]+")


@dataclass(frozen=True, slots=True)
class ClassNames:
    """How people read a class, in each language, and where it stands in the class tree."""

    names: Mapping[str, str]  # language tag -> display name; "en" always present
    ancestors: tuple[str, ...] = ()  # group ids, nearest first; empty without a tree


@dataclass(frozen=True, slots=True)
class NamedGroup:
    """Classes that a level does not tell apart."""

    id: str
    names: Mapping[str, str]
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NamedLevel:
    """A cut through the class tree: every class stands in exactly one group."""

    id: str
    names: Mapping[str, str]
    groups: tuple[NamedGroup, ...]

    def group_of(self, classes: Sequence[str]) -> tuple[int, ...]:
        """For each class, the number of its group."""
        number = {label: index for index, group in enumerate(self.groups) for label in group.classes}
        return tuple(number[label] for label in classes)


@dataclass(frozen=True, slots=True)
class Names:
    """What a classes.yaml says."""

    classes: Mapping[str, ClassNames]  # one for each class
    levels: tuple[NamedLevel, ...]  # lowest first; empty without a tree
    untranslated: Mapping[str, tuple[str, ...]]  # language that the file uses -> ids it has no name for


def read_names(path: Path, classes: Sequence[str]) -> Names:
    """The names of each class, made from the folder's name where the file or an entry is missing; and the tree.

    classes: composed, as `load_folder` gives them. Raises NamesWrong where the file cannot be read, names a class that
    is not there, gives two classes or two groups of one level the same name in a language, or has a tree that is none.
    """
    document = _document(path)
    entries = _entries(path, document, "classes")
    groups = _entries(path, document, "groups")
    levels = _entries(path, document, "levels")
    for name in entries:
        if name not in classes:
            raise NamesWrong(f"{path} names the class {name}, which has no folder: {_hint(name, classes)}")
    for key, named in (("groups", groups), ("levels", levels)):
        for name, entry in named.items():
            if "en" not in entry:
                raise NamesWrong(f"{path}: {name} in `{key}` has no English name: give it one, as in `en: Some name`")
    both = sorted(set(groups) & set(classes))
    if both:
        raise NamesWrong(f"{path}: {both[0]} is a class and a group: give the group another id")
    found = {
        label: ClassNames(
            names=_names_of(label, entries.get(label, {})), ancestors=_ancestors(path, label, entries, groups)
        )
        for label in classes
    }
    _check_told_apart(path, {label: own.names for label, own in found.items()}, written=entries)
    cuts = _levels(path, found, groups, levels)
    for cut in cuts:
        _check_told_apart(path, {group.id: group.names for group in cut.groups}, written={**entries, **groups})
    every = {**groups, **levels, **{label: entries.get(label, {}) for label in classes}}
    return Names(
        classes=found,
        levels=cuts,
        untranslated={
            tag: missing
            for tag in sorted({tag for entry in every.values() for tag in entry} - {"parent"})
            if (missing := tuple(name for name, entry in every.items() if tag not in entry))
        },
    )


def composed(name: str) -> str:
    """A name as it is compared and kept: Unicode's NFC. Archivers and file systems take accents and marks apart."""
    return unicodedata.normalize("NFC", name)


def look_of(name: str) -> str:
    """The same for names that a reader cannot tell apart, although Unicode does: a sara am, or its two halves."""
    apart = unicodedata.normalize("NFD", name).replace("\u0e33", "\u0e4d\u0e32").replace("\u0e40\u0e40", "\u0e41")
    return _MARKS.sub(lambda marks: "".join(sorted(marks[0])), apart)


def _check_told_apart(
    path: Path, names: Mapping[str, Mapping[str, str]], *, written: Mapping[str, Mapping[str, str]]
) -> None:
    """written: what the file itself says of each id. Raises NamesWrong where people would read two ids as one."""
    called: dict[tuple[str, str], str] = {}
    for own, shown in names.items():
        for tag, text in shown.items():
            other = called.setdefault((tag, look_of(" ".join(text.casefold().split()))), own)
            if other == own:
                continue
            if tag == "en" and not any("en" in written.get(each, {}) for each in (own, other)):
                raise NamesWrong(
                    f"{path.parent} holds {other} and {own}, of which people would read {text} alike: move all "
                    f"photographs into one of the two folders, or give each a name in {path.name}, as in "
                    f"`classes: {{{other}: {{en: Some name}}}}`"
                )
            raise NamesWrong(f"{path}: {other} and {own} have the same {tag} name, {text}: give each its own")


def fallback_name(class_id: str) -> str:
    """A readable name from a folder's: `phra_sivali` is "Phra sivali"."""
    words = class_id.replace("_", " ").replace("-", " ").strip()
    return (words[:1].upper() + words[1:]) or class_id


def _hint(name: str, classes: Sequence[str]) -> str:
    same = [label for label in classes if look_of(label) == look_of(name)]
    if same:
        return f"the folder {same[0]} only looks the same, written {same[0]!a} and not {name!a}; copy its name"
    near = get_close_matches(name, classes, n=1)
    return f"did you mean {near[0]}?" if near else f"the folders are {listed(classes)}"


def _document(path: Path) -> Mapping[str, Any]:
    try:
        if path.exists() and not path.is_file():
            raise NamesWrong(f"{path} is no regular file: replace it or move it out of the folder")
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise NamesWrong(f"{path} cannot be read ({error})") from None
    try:
        document = documents.of_yaml_texts(text)
    except ValueError as error:
        raise NamesWrong(f"{path} is not YAML: {error}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise NamesWrong(f"{path} must be a mapping with `classes`, not a {type(document).__name__}")
    unknown = sorted(str(key) for key in document if key not in _KEYS)
    if unknown:
        raise NamesWrong(f"{path} has the key {unknown[0]}: only {', '.join(f'`{key}`' for key in _KEYS)} are known")
    return document


def _entries(path: Path, document: Mapping[str, Any], key: str) -> Mapping[str, Mapping[str, str]]:
    """The entries below one key, each checked to be text by text; a bare text is an English name."""
    found = document.get(key) or {}
    if not isinstance(found, dict):
        raise NamesWrong(f"{path}: `{key}` must map an id to its names")
    entries: dict[str, Mapping[str, str]] = {}
    for name, entry in found.items():
        if not isinstance(name, str):  # an explicit tag can still make one
            raise NamesWrong(f"{path}: {name!r} in `{key}` is no text: write it in quotes, without a tag")
        entry = {"en": entry} if isinstance(entry, str) else entry
        if not isinstance(entry, dict) or not all(
            isinstance(tag, str) and isinstance(text, str) and text.strip() for tag, text in entry.items()
        ):
            raise NamesWrong(
                f"{path}: {name} must map language tags to names, as in `{name}: {{en: Some name, th: ชื่อ}}`"
            )
        for tag, text in entry.items():
            if wrong := _cannot_be_shown(text):
                raise NamesWrong(f"{path}: the {tag} of {name} {wrong}")
        entries[name] = entry
    return entries


def _cannot_be_shown(text: str) -> str:
    """Why no card takes it, and what would be right; empty where one does."""
    if len(text) > _NAME_CHARACTERS_MAX:
        return f"has {len(text)} characters: at most {_NAME_CHARACTERS_MAX} are taken"
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text.strip()):
        return "has a line break or another character that cannot be shown: write it in one line"
    return ""


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


def _levels(
    path: Path,
    classes: Mapping[str, ClassNames],
    groups: Mapping[str, Mapping[str, str]],
    named: Mapping[str, Mapping[str, str]],
) -> tuple[NamedLevel, ...]:
    """The cuts through the tree that tell something apart, lowest first.

    Where branches differ in depth a cut counts from the top, so that a group never stands beside one that
    it holds; a class that ends above the cut stands for itself.
    """
    for name in groups:
        if not _GROUP_ID.fullmatch(name):
            raise NamesWrong(f"{path}: the group {name!r} needs an id of 1 to 128 characters without slashes")
    for name in named:
        if not _LEVEL_ID.fullmatch(name) or name == CLASS_LEVEL:
            raise NamesWrong(
                f"{path}: {name!r} cannot be a level's id: use 1 to 63 lower case letters, digits, - and _, "
                f"and not `{CLASS_LEVEL}`, which is the level of the classes themselves"
            )
    depth = max(len(own.ancestors) for own in classes.values())
    if len(named) > depth:
        raise NamesWrong(
            f"{path} names {counted(len(named), 'level')} above the classes, but no class has more than "
            f"{counted(depth, 'group')} above it"
        )
    ids = [*named, *(f"level_{number}" for number in range(len(named) + 1, depth + 1))]
    levels: list[NamedLevel] = []
    below = len(classes)
    for number, level_id in enumerate(ids, start=1):
        members: dict[str, list[str]] = {}
        for label, own in classes.items():
            chain = (*reversed(own.ancestors), label)  # from the top
            members.setdefault(chain[min(depth - number, len(chain) - 1)], []).append(label)
        if 1 < len(members) < below:  # else nothing is told apart, or nothing less than below
            below = len(members)
            levels.append(
                NamedLevel(
                    id=level_id,
                    names=named.get(level_id, {"en": f"Level {number}"}),
                    groups=tuple(
                        NamedGroup(
                            name,
                            classes[name].names if name in classes else _names_of(name, groups[name]),
                            tuple(labels),
                        )
                        for name, labels in members.items()
                    ),
                )
            )
    return tuple(levels)
