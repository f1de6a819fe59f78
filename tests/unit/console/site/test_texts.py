"""Thai and English ship together: every text is translated, and the compiled catalogues are those of the sources."""

from __future__ import annotations

import ast
import gettext
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from django.contrib.auth import password_validation
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator, ProhibitNullCharactersValidator
from django.forms import SplitDateTimeField
from django.utils.html import strip_tags
from django.utils.translation import gettext as django_gettext
from django.utils.translation import ngettext, override
from unfold.widgets import UnfoldAdminSplitDateTimeWidget

CONSOLE = Path(__file__).parents[4] / "console"
CATALOGUES = sorted(CONSOLE.glob("*/locale/th/LC_MESSAGES/django.po"))
CALLS = {"_", "gettext", "gettext_lazy", "gettext_noop"}
_ENTRY = re.compile(
    r'^msgid (?P<id>(?:"(?:[^"\\]|\\.)*"\n)+)(?:msgid_plural (?:"(?:[^"\\]|\\.)*"\n)+)?'
    r'msgstr(?:\[0\])? (?P<text>(?:"(?:[^"\\]|\\.)*"\n?)+)',
    re.MULTILINE,
)
# A figure, Django's or Python's field, or a tag of a template, with a space before its percent sign.
_APART = re.compile(r"(?:\d|\)s|\}) %%?(?=[\s.,;:)<}\"'\u0e00-\u0e7f]|$)")
# What a thing is called in Thai, wherever it is named, and names that it had beside that one.
NAMES = {
    r"\bheat maps?\b": "แผนที่ความร้อน",
    r"\bgolden photographs?\b": "ภาพอ้างอิง",
    r"\bcheckpoints?\b": "จุดตรวจสอบ",
    r"\bguardrails?\b": "เกณฑ์ป้องกัน",
    r"\bprivacy requests?\b": "คำขอ",
    r"\bsecond factor\b": "การยืนยันตัวตนขั้นที่สอง",
    r"\bcontrast\b": "ความเปรียบต่าง",
    r"\bnetwork (?:learns|sees)|frozen network": "โครงข่าย",
    r"\b(?:no|model) card|^card$": "การ์ด",
}
FORMER_NAMES = re.compile(
    "แผนภาพความร้อน|ราวกั้น|ภาพมาตรฐาน|จุดตรวจ(?!สอบ)|คำขอด้านข้อมูลส่วนบุคคล|คำขอความเป็นส่วนตัว|บัตรโมเดล|สมุดรายการ|โคเฮน"
    "|(?<!เ)ท่าน"  # who reads is คุณ
)
_FIELD = re.compile(r"%\(\w+\)s|\{\w*(?::\w+)?\}")


def texts_in(catalogue: Path) -> dict[str, str]:
    """msgid -> msgstr of a .po file, its header left out."""
    found = {_joined(entry["id"]): _joined(entry["text"]) for entry in _ENTRY.finditer(catalogue.read_text())}
    found.pop("", None)
    return found


def _joined(lines: str) -> str:
    return "".join(str(ast.literal_eval(line)) for line in lines.strip().split("\n"))


def texts_in_code() -> Iterator[tuple[Path, str]]:
    for file in CONSOLE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in CALLS and isinstance(node.args[0].value, str) and node.args[0].value:
                yield file, node.args[0].value


def refusals_in_code() -> Iterator[tuple[str, int]]:
    """Where a refusal, ours or REST's, is made with a sentence that no catalogue can know."""
    ours = {
        node.name for node in ast.walk(ast.parse((CONSOLE / "errors.py").read_text())) if isinstance(node, ast.ClassDef)
    }
    for file in CONSOLE.rglob("*.py"):
        if file.relative_to(CONSOLE).parts[0] == "ingest":  # gateways read those
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id in ours | {"AuthenticationFailed", "ValidationError", "PermissionDenied"} and any(
                isinstance(part, ast.Constant) and isinstance(part.value, str) and " " in part.value
                for part in _outside_gettext(node.args[:1])
            ):
                yield str(file.relative_to(CONSOLE)), node.lineno


def _outside_gettext(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
            continue
        yield node
        # Of a join only what is joined: what stands between is no word.
        joins = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "join"
        yield from _outside_gettext(node.args if joins else ast.iter_child_nodes(node))


def texts_in_templates() -> Iterator[tuple[Path, str]]:
    for file in CONSOLE.rglob("templates/**/*.html"):
        for text in re.findall(r'{%\s*translate\s+"([^"]+)"', file.read_text()):
            yield file, text.replace("%", "%%")


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: path.parts[-5])
def test_every_text_of_a_catalogue_is_translated_with_its_fields(catalogue: Path) -> None:
    texts = texts_in(catalogue)
    assert texts
    assert not [text for text, thai in texts.items() if not thai]
    assert "fuzzy" not in catalogue.read_text()
    for text, thai in texts.items():
        assert sorted(_FIELD.findall(text)) == sorted(_FIELD.findall(thai)), text


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: path.parts[-5])
def test_the_compiled_catalogue_is_that_of_its_source(catalogue: Path) -> None:
    with catalogue.with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for text, thai in texts_in(catalogue).items():
        assert thai in (compiled.gettext(text), compiled.ngettext(text, text, 1)), text


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: path.parts[-5])
def test_a_text_is_said_as_its_catalogue_has_it(catalogue: Path) -> None:
    """To Django all catalogues are one, its own apps' included: of two translations of one text one wins."""
    with override("th"):
        said = {text: (django_gettext(text), ngettext(text, text, 1)) for text in texts_in(catalogue)}
    assert {text: said[text] for text, thai in texts_in(catalogue).items() if thai not in said[text]} == {}


def framework_texts() -> Iterator[str]:
    """What Django and the theme say on pages of ours, and ship no Thai for."""
    yield from password_validation.password_validators_help_texts()
    for refused in (
        lambda: password_validation.validate_password("1234"),
        lambda: MaxLengthValidator(2)("three"),
        lambda: ProhibitNullCharactersValidator()("\0"),
        lambda: SplitDateTimeField(required=True).clean(["2026-11-28", ""]),
        lambda: UnfoldAdminSplitDateTimeWidget(),
    ):
        try:
            made = refused()
        except ValidationError as error:
            yield from error.messages
        else:
            yield from (str(part.attrs.get("placeholder", "")) for part in made.widgets)


def test_what_the_framework_says_to_people_is_in_thai() -> None:
    with override("th"):
        said = [strip_tags(text).strip() for text in framework_texts()]
    assert len(said) >= 10
    assert [text for text in said if not re.search("[\u0e01-\u0e4e]", text)] == []


APPS = sorted({file.relative_to(CONSOLE).parts[0] for file, _ in (*texts_in_code(), *texts_in_templates())})


@pytest.mark.parametrize("app", APPS)
def test_every_text_in_the_code_is_in_a_catalogue(app: str) -> None:
    known = {text for catalogue in CATALOGUES for text in texts_in(catalogue)}
    missing = [
        f"{file.relative_to(CONSOLE)}: {text}"
        for file, text in (*texts_in_code(), *texts_in_templates())
        if file.relative_to(CONSOLE).parts[0] == app and text not in known
    ]
    assert missing == []


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: path.parts[-5])
def test_one_thing_has_one_name_in_thai(catalogue: Path) -> None:
    texts = texts_in(catalogue)
    assert [thai for thai in texts.values() if FORMER_NAMES.search(thai)] == []
    misnamed = [
        (text, thai)
        for text, thai in texts.items()
        for english, name in NAMES.items()
        if re.search(english, text, re.IGNORECASE) and name not in thai
    ]
    assert misnamed == []


def test_every_refusal_is_worded_for_both_languages() -> None:
    assert list(refusals_in_code()) == []


def test_a_percentage_is_written_in_one_way() -> None:
    said = [text for catalogue in CATALOGUES for pair in texts_in(catalogue).items() for text in pair]
    said += [re.sub(r"{%.*?%}", "}", file.read_text()) for file in CONSOLE.rglob("*.html")]
    said += [  # descriptions of the REST interface
        node.value
        for file in CONSOLE.glob("*/*api.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert [found[0] for text in said for found in re.finditer(r".{0,40}" + _APART.pattern, text)] == []


def test_thai_letters_come_from_a_thai_font_whatever_the_machine_has() -> None:
    """Behind system-ui, Chromium leaves boxes for some words."""
    styles = [
        file for file in CONSOLE.rglob("*") if file.suffix in {".css", ".html"} and "system-ui" in file.read_text()
    ]

    assert styles
    for file in styles:
        for before, _ in re.findall(r"(font(?:-family)?:[^;]*?)(system-ui)", file.read_text()):
            assert "Noto Sans Thai" in before, file
