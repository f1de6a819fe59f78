"""What a data set is, and what is said of one that is none."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handlers.amulet_handler import pixels_of
from protos.amulet.v1 import vocabulary_pb2 as words
from protos.photo_limits import BYTES_MAX
from tests.unit.training.data.cast import picture, write_class, write_folder
from training.data.errors import ClassesWrong, DataWrong, FolderMissing, NamesWrong, PhotoBroken
from training.data.folder import LOOK_PX, load_folder, load_outside, read_photo, scan_folder
from training.data.names import composed


def test_a_folder_knows_its_classes_sides_and_contents(tmp_path: Path) -> None:
    write_folder(tmp_path, {"waek_man": 3, "phra_sivali": 2})

    folder = load_folder(tmp_path)

    assert folder.classes == ("phra_sivali", "waek_man")
    assert folder.per_class == {"phra_sivali": 2, "waek_man": 3}
    first = folder.photos[0]
    assert first.relative == "phra_sivali/back_001.jpg"
    assert (first.label, first.side, first.side_name) == ("phra_sivali", words.SIDE_BACK, "back")
    assert first.sha256 == hashlib.sha256(first.path.read_bytes()).hexdigest()
    assert (first.width_px, first.height_px, len(first.look)) == (96, 128, LOOK_PX**2)
    assert folder.index_of(first) == 0


def test_the_fingerprint_follows_names_and_contents_and_nothing_else(tmp_path: Path) -> None:
    here = load_folder(write_folder(tmp_path / "here", {"a": 2, "b": 2}))
    there = load_folder(write_folder(tmp_path / "there", {"a": 2, "b": 2}))
    assert here.fingerprint == there.fingerprint
    lines = sorted(f"{photo.relative} {photo.sha256}\n" for photo in here.photos)
    assert here.fingerprint == hashlib.sha256("".join(lines).encode()).hexdigest()

    (tmp_path / "there/a/front_000.jpg").rename(tmp_path / "there/a/front_009.jpg")
    assert load_folder(tmp_path / "there").fingerprint != here.fingerprint


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("front_1.jpg", "front"),
        ("BACK_1.jpg", "back"),
        ("edge_a_b.jpg", "edge"),
        ("detail_1.jpg", "detail"),
        ("frontal_1.jpg", "unknown"),
        ("1.jpg", "unknown"),
    ],
)
def test_the_side_is_the_first_word_of_the_name(tmp_path: Path, name: str, side: str) -> None:
    write_folder(tmp_path, {"a": 1, "b": 1})
    (tmp_path / "a/front_000.jpg").rename(tmp_path / "a" / name)
    assert load_folder(tmp_path).photos[0].side_name == side


def test_a_turned_photograph_is_read_upright(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 1, "b": 1})
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(5, width=96, height=128).save(tmp_path / "a/front_000.jpg", exif=exif)
    photo = load_folder(tmp_path).photos[0]
    assert (photo.width_px, photo.height_px) == (128, 96)


def test_the_folder_of_other_things_and_hidden_files_are_no_class(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 1, "b": 1})
    write_class(tmp_path / "ood", "coins", 2, first_seed=9)
    (tmp_path / ".DS_Store").write_bytes(b"x")
    (tmp_path / "a/Thumbs.db").write_bytes(b"x")
    (tmp_path / "README.md").write_text("about")
    assert load_folder(tmp_path).classes == ("a", "b")
    assert {name: len(photos) for name, photos in load_outside(tmp_path / "ood").items()} == {"coins": 2}
    assert {name: len(photos) for name, photos in load_outside(tmp_path / "ood/coins").items()} == {"coins": 2}


def test_display_names_come_from_classes_yaml_and_else_from_the_folder(tmp_path: Path) -> None:
    write_folder(tmp_path, {"phra_sivali": 1, "waek_man": 1})
    (tmp_path / "classes.yaml").write_text(
        "classes:\n  phra_sivali: {en: Phra Sivali, th: พระสีวลี, parent: standing}\n"
        "groups:\n  standing: {en: Standing, parent: all}\n  all: Everything\n",
        "utf-8",
    )
    names = load_folder(tmp_path).names
    assert names["phra_sivali"].names == {"en": "Phra Sivali", "th": "พระสีวลี"}
    assert names["phra_sivali"].ancestors == ("standing", "all")
    assert names["waek_man"].names == {"en": "Waek man"}


def higher(groups: int) -> str:
    """Groups of which each stands above the one before, g1 lowest."""
    parents = [f", parent: g{number + 1}" if number < groups else "" for number in range(1, groups + 1)]
    return ", ".join(f"g{number}: {{en: G{parent}}}" for number, parent in enumerate(parents, start=1))


def test_eight_groups_may_stand_above_a_class(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 1, "b": 1})
    (tmp_path / "classes.yaml").write_text(f"classes: {{a: {{parent: g1}}}}\ngroups: {{{higher(8)}}}")
    assert load_folder(tmp_path).names["a"].ancestors == tuple(f"g{number}" for number in range(1, 9))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("classes: {a: {en: A}, c: {en: C}}", "the class c, which has no folder"),
        ("classes: [a, b]", "must map an id"),
        ("klasses: {a: A}", "the key klasses"),
        ("zoo: {a: A}\nklasses: {a: A}", "the key klasses"),
        ("classes: {a: {en: [1]}}", "must map language tags"),
        ("classes: {a: {en: A, th: ' '}}", "must map language tags"),
        ("classes: {a: {parent: up}}", "the parent up, which is not in `groups`"),
        ("classes: {a: {parent: x}}\ngroups: {x: {en: X, parent: y}, y: {en: Y, parent: x}}", "circle"),
        (f"classes: {{a: {{parent: g1}}}}\ngroups: {{{higher(9)}}}", "deeper than 8"),
        ("groups: {x: {th: กลุ่ม}}", "x in `groups` has no English name"),
        ("groups: {a: {en: A}}", "a is a class and a group"),
        ("levels: {Family: {en: F}}", "cannot be a level's id"),
        ("levels: {class: {en: F}}", "which is the level of the classes themselves"),
        ("levels: {family: {en: F}}", "names 1 level above the classes, but no class has more than 0 groups"),
        ("classes: {a: [", "is not YAML"),
        ("classes:\n  a: A\n  b: B\n  a: Other", "a stands in lines 2 and 4, and means one thing only"),
        ("classes: {a: A, b: B, a: Other}", "a stands twice in line 1"),
        ("classes: {a: {en: A, en: Other}}", "en stands twice in line 1"),
        ("classes: {a: A}\ngroups: {x: X}\nclasses: {b: B}", "classes stands in lines 1 and 3"),
        ("classes: {!!int 1: A}", "1 in `classes` is no text: write it in quotes"),
        (f"classes: {{a: {{th: {'ก' * 4001}}}}}", "the th of a has 4001 characters: at most 4000 are taken"),
        ('classes: {a: {en: "A\\0"}}', "the en of a has a line break or another character that cannot be shown"),
        ('classes: {a: "\\ud83d\\ude00"}', "the en of a has a line break or another character that cannot be shown"),
        ("- a", "must be a mapping"),
    ],
)
def test_a_wrong_classes_yaml_is_named(tmp_path: Path, text: str, said: str) -> None:
    write_folder(tmp_path, {"a": 1, "b": 1})
    (tmp_path / "classes.yaml").write_text(text)
    with pytest.raises(NamesWrong) as caught:
        load_folder(tmp_path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folders_may_be_called_what_yaml_takes_for_something_else(tmp_path: Path) -> None:
    """A number, a falsehood, a date and nothing: a names file names folders, and knows none of them."""
    labels = ("001", "1_000", "2026-11-29", "no", "null", "on", "~")
    write_folder(tmp_path, dict.fromkeys(labels, 1))
    entries = "".join(
        f"  {label}: {{en: Number {label}, no: {number}, parent: 007}}\n"
        for number, label in enumerate(labels, start=12)
    )
    (tmp_path / "classes.yaml").write_text(f"classes:\n{entries}groups:\n  007: Bond\n")

    folder = load_folder(tmp_path)

    assert folder.classes == labels
    for number, label in enumerate(labels, start=12):
        assert folder.names[label].names == {"en": f"Number {label}", "no": str(number)}
        assert folder.names[label].ancestors == ("007",)


def test_entries_may_share_what_yaml_merges_and_say_it_otherwise(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 1, "b": 1})
    (tmp_path / "classes.yaml").write_text(
        "groups: {x: X}\nclasses:\n  a: &first {en: A, parent: x}\n  b: {<<: *first, en: B}\n"
    )
    names = load_folder(tmp_path).names
    assert {label: (names[label].names["en"], names[label].ancestors) for label in names} == {
        "a": ("A", ("x",)),
        "b": ("B", ("x",)),
    }


APART, WHOLE = "cafe\u0301", "caf\u00e9"  # as a Mac's archive spells it, and as a keyboard does
TONE_FIRST, VOWEL_FIRST = (
    "\u0e01\u0e48\u0e38",
    "\u0e01\u0e38\u0e48",
)  # ko kai, mai ek and sara u: one order is Unicode's
SARA_AM, ITS_HALVES = "\u0e19\u0e49\u0e33", "\u0e19\u0e4d\u0e49\u0e32"  # water; to Unicode two words


@pytest.mark.parametrize(("on_disk", "written"), [(APART, WHOLE), (WHOLE, APART), (TONE_FIRST, VOWEL_FIRST)])
def test_a_class_is_one_class_however_its_folder_and_the_names_file_spell_it(
    tmp_path: Path, on_disk: str, written: str
) -> None:
    here = write_folder(tmp_path / "here", {"b": 2, on_disk: 2})
    (here / on_disk / "front_000.jpg").rename(here / on_disk / f"front_{on_disk}.jpg")
    (here / "classes.yaml").write_text(
        f"classes: {{{written}: {{en: Named, parent: {on_disk}s}}}}\ngroups: {{{written}s: G}}"
    )
    there = write_folder(tmp_path / "there", {"b": 2, written: 2})
    (there / written / "front_000.jpg").rename(there / written / f"front_{written}.jpg")

    folder, other = load_folder(here), load_folder(there)

    name = min(on_disk, written, key=lambda spelling: (len(spelling), spelling != VOWEL_FIRST))
    assert folder.classes == other.classes == ("b", name)
    assert [photo.relative for photo in folder.photos] == [photo.relative for photo in other.photos]
    assert folder.fingerprint == other.fingerprint
    assert folder.names[name].names == {"en": "Named"}
    assert folder.names[name].ancestors == (f"{name}s",)
    assert all(photo.path.is_file() for photo in folder.photos)


@pytest.mark.parametrize(
    ("first", "second"), [(APART, WHOLE), (ITS_HALVES, SARA_AM), ("\u0e40\u0e40\u0e01", "\u0e41\u0e01")]
)
def test_two_folders_that_look_the_same_are_no_two_classes(tmp_path: Path, first: str, second: str) -> None:
    root = write_folder(tmp_path / "data", {first: 1, "b": 1, second: 1})

    with pytest.raises(ClassesWrong, match="holds two folders whose names look the same") as refused:
        load_folder(root)
    assert ascii(first) in str(refused.value)
    assert ascii(second) in str(refused.value)
    with pytest.raises(ClassesWrong, match="look the same"):
        load_outside(root)


@pytest.mark.parametrize(("first", "second"), [("Wat_Nong", "wat_nong"), ("e\u0301clat", "ÉCLAT")])
def test_two_folders_whose_names_differ_in_case_alone_are_no_two_classes(
    tmp_path: Path, first: str, second: str
) -> None:
    """People would read "Wat nong" of either, and one folder could not hold both on every disk."""
    root = write_folder(tmp_path / "data", {first: 1, "b": 1, second: 1})

    for load in (load_folder, load_outside):
        with pytest.raises(ClassesWrong, match="two folders whose names differ in case alone") as refused:
            load(root)
        assert f"{composed(first)} and {composed(second)}: " in str(refused.value)


def test_two_folders_that_people_would_read_alike_are_two_classes_once_they_have_names(tmp_path: Path) -> None:
    """Without classes.yaml a report and an answer would say "Phra sivali" of either."""
    root = write_folder(tmp_path / "data", {"phra-sivali": 1, "phra_sivali": 1})

    with pytest.raises(NamesWrong, match=r"holds phra-sivali and phra_sivali, .* read Phra sivali alike") as refused:
        load_folder(root)
    (root / "classes.yaml").write_text(str(refused.value).partition("`")[2].rstrip("`"))

    assert load_folder(root).names["phra-sivali"].names == {"en": "Some name"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("classes: {a: {en: Same}, b: {en: ' same '}}", "a and b have the same en name, same"),
        ("classes: {a: {th: แม่}, b: {th: เเม่}}", "a and b have the same th name, เเม่"),
        ("classes: {b: A}", "a and b have the same en name, A"),
        (
            "classes: {a: {parent: g}, b: {parent: g}, c: {parent: h}, d: {parent: h}}\ngroups: {g: Old, h: Old}",
            "g and h have the same en name, Old",
        ),
    ],
)
def test_two_of_one_name_are_not_told_apart(tmp_path: Path, text: str, said: str) -> None:
    write_folder(tmp_path, {"a": 1, "b": 1, "c": 1, "d": 1})
    (tmp_path / "classes.yaml").write_text(text, "utf-8")

    with pytest.raises(NamesWrong) as refused:
        load_folder(tmp_path)

    assert str(refused.value).endswith(f"{said}: give each its own")


def test_a_name_that_only_looks_like_a_folders_is_shown_with_the_difference(tmp_path: Path) -> None:
    write_folder(tmp_path, {ITS_HALVES: 1, "b": 1})
    (tmp_path / "classes.yaml").write_text(f"classes: {{{SARA_AM}: Water}}", "utf-8")

    with pytest.raises(NamesWrong, match=r"which has no folder: .* only looks the same") as refused:
        load_folder(tmp_path)
    assert ascii(ITS_HALVES) in str(refused.value)


def test_of_two_files_of_one_name_in_two_spellings_the_second_is_named(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"a": 2, "b": 2})
    for number, name in enumerate((APART, WHOLE)):
        picture(number).save(root / f"a/{name}.jpg")

    scan = scan_folder(root)

    (broken,) = scan.broken
    assert broken.path.name == f"{WHOLE}.jpg"
    assert f"one name in two spellings, {f'{APART}.jpg'!a} and {f'{WHOLE}.jpg'!a}" in broken.why
    assert len({photo.relative for photo in scan.photos}) == len(scan.photos) == 5


def test_a_missing_folder_and_an_empty_one_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FolderMissing, match="there is no folder"):
        load_folder(tmp_path / "nowhere")
    with pytest.raises(FolderMissing, match="no class folders"):
        load_folder(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(FolderMissing, match="holds no photographs"):
        load_folder(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(FolderMissing, match="is a file"):
        load_folder(tmp_path / "file")


def test_one_class_is_no_classification(tmp_path: Path) -> None:
    write_folder(tmp_path, {"only": 2})
    with pytest.raises(ClassesWrong, match=r"one class only \(only\)"):
        load_folder(tmp_path)


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 1, "b": 1})
    (tmp_path / "empty").mkdir()
    with pytest.raises(ClassesWrong, match=r"empty holds no photographs"):
        load_folder(tmp_path)


def test_photographs_beside_the_classes_and_folders_inside_them_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 1, "b": 1})
    picture(1).save(tmp_path / "loose.jpg")
    with pytest.raises(ClassesWrong, match=r"loose\.jpg lies beside"):
        load_folder(tmp_path)
    (tmp_path / "loose.jpg").unlink()
    (tmp_path / "a/more").mkdir()
    with pytest.raises(ClassesWrong, match="is a folder inside a class folder"):
        load_folder(tmp_path)


def test_a_folder_name_that_cannot_be_a_class_id_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 1, "b\x07ell": 1})
    with pytest.raises(ClassesWrong, match="cannot be a class id"):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"GIF89a" + bytes(64), "is not a JPEG, PNG or WebP"),
        (b"%PDF-1.7\n", "is not a JPEG, PNG or WebP"),
        (b"\x89PNG\r\n\x1a\n" + bytes(32), "is "),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    write_folder(tmp_path, {"a": 1, "b": 1})
    (tmp_path / "b/front_007.jpg").write_bytes(content)
    with pytest.raises(PhotoBroken) as caught:
        load_folder(tmp_path)
    assert "front_007.jpg" in str(caught.value)
    assert said in str(caught.value)


def test_every_cut_of_a_photograph_is_called_damaged(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 1, "b": 1})
    whole = (tmp_path / "a/front_000.jpg").read_bytes()
    for kept in range(2, len(whole) - 2, len(whole) // 20):
        (tmp_path / "a/front_000.jpg").write_bytes(whole[:kept])
        with pytest.raises(PhotoBroken):
            load_folder(tmp_path)


def test_an_animation_and_a_foreign_suffix_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 1, "b": 1})
    picture(1).save(tmp_path / "a/moving.webp", save_all=True, append_images=[picture(2)])
    with pytest.raises(PhotoBroken, match="is animated"):
        load_folder(tmp_path)
    (tmp_path / "a/moving.webp").rename(tmp_path / "a/moving.heic")
    with pytest.raises(DataWrong, match="is not named like a photograph"):
        load_folder(tmp_path)


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "BMP", "AVIF", "HEIC"])
def test_a_picture_of_another_format_is_to_be_saved_anew_whatever_it_is_called(tmp_path: Path, kind: str) -> None:
    file = write_folder(tmp_path, {"a": 2, "b": 2}) / "a/front_000.jpg"
    if kind == "HEIC":
        file.write_bytes(b"\x00\x00\x00\x18ftypheic" + bytes(500))
    else:
        picture(1).save(file, format=kind)
    mend = "save it as JPEG, or move it out of the folder"
    with pytest.raises(PhotoBroken) as refused:
        load_folder(tmp_path)
    assert str(refused.value) == f"{file} is not a JPEG, PNG or WebP photograph: {mend}"
    named = file.rename(file.with_suffix(f".{kind.lower()}"))
    with pytest.raises(PhotoBroken) as refused:
        load_folder(tmp_path)
    assert str(refused.value) == f"{named} is not named like a photograph (.jpg, .jpeg, .png or .webp): {mend}"


def test_nobody_waits_for_the_other_end_of_a_pipe(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", {"a": 2, "b": 2})
    os.mkfifo(root / "a/front_9.jpg")

    (broken,) = scan_folder(root).broken

    assert str(broken).startswith(f"{root / 'a/front_9.jpg'} is no regular file")
    (root / "a/front_9.jpg").unlink()
    os.mkfifo(root / "classes.yaml")
    with pytest.raises(NamesWrong, match=r"classes\.yaml is no regular file"):
        load_folder(root)


def test_a_scan_lists_files_of_a_foreign_suffix_beside_the_other_broken_ones(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "a/front_000.jpg").rename(tmp_path / "a/front_000.heic")
    (tmp_path / "a/notes.txt").write_text("of no photograph")
    (tmp_path / "b/front_000.jpg").write_bytes(b"")
    scan = scan_folder(tmp_path)
    assert [(broken.path.name, broken.why.split(" (")[0]) for broken in scan.broken] == [
        ("front_000.heic", "is not named like a photograph"),
        ("front_000.jpg", "is empty"),
    ]
    assert len(scan.photos) == 2


def test_a_name_that_is_not_utf_8_is_listed_escaped_and_asked_to_be_renamed(tmp_path: Path) -> None:
    """As a ZIP of a Thai Windows leaves it on Linux."""
    write_folder(tmp_path, {"a": 2, "b": 2})
    for suffix in (".jpg", ".heic"):
        picture(7).save(tmp_path / "a/thai.jpg")
        (tmp_path / "a/thai.jpg").rename(tmp_path / "a" / os.fsdecode("พระ".encode("cp874") + suffix.encode()))

    scan = scan_folder(tmp_path)

    assert len(scan.photos) == 4
    assert {(broken.path.name, broken.why.split(" (")[0]) for broken in scan.broken} == {
        (r"\udcbe\udcc3\udcd0.jpg", "has a name that is not UTF-8"),
        (r"\udcbe\udcc3\udcd0.heic", "is not named like a photograph"),
    }
    next((tmp_path / "a").glob("*.heic")).unlink()
    with pytest.raises(PhotoBroken) as refused:
        load_folder(tmp_path)
    assert str(refused.value) == rf"{tmp_path}/a/\udcbe\udcc3\udcd0.jpg has a name that is not UTF-8: rename it"


def test_a_name_of_several_lines_is_no_name(tmp_path: Path) -> None:
    """Lines of the fingerprint are names, and a terminal obeys what stands in one."""
    root = write_folder(tmp_path / "data", {"a": 2, "b": 2})
    names = ("front\n1.jpg", "front\x1b[31m.jpg")
    for number, name in enumerate(names):
        picture(number).save(root / "a" / name)

    scan = scan_folder(root)

    assert {broken.path.name for broken in scan.broken} == {r"front\n1.jpg", r"front\x1b[31m.jpg"}
    for broken in scan.broken:
        assert str(broken).isprintable()
        assert "a name with a line break or another control character: rename it" in str(broken)
    assert len(scan.photos) == 4
    (root / "a/พระ\u200bสม.jpg").write_bytes((root / "a/front_000.jpg").read_bytes())  # Thai is written with it
    assert len(scan_folder(root).photos) == 5


def test_a_folder_whose_own_name_is_not_utf_8_is_refused_before_any_work(tmp_path: Path) -> None:
    """The card names it: a training would end when it is written."""
    root = write_folder(tmp_path / "data", {"a": 2, "b": 2})
    strange = tmp_path / os.fsdecode(b"data\xff")
    root.rename(strange)

    for read, folder in ((load_folder, strange), (scan_folder, strange), (load_outside, strange / "a")):
        with pytest.raises(FolderMissing, match=r"data\\udcff.* has a name that is not UTF-8: rename it"):
            read(folder)


@pytest.mark.parametrize("form", ["16 bits", "hidden colours", "palette"])
def test_copies_in_forms_that_a_model_sees_alike_have_one_look(tmp_path: Path, form: str) -> None:
    """A copy whose look were white would be found by nobody, and measure what learnt from the other."""
    plain = picture(3).convert("L")
    plain.save(tmp_path / "plain.png")
    if form == "16 bits":
        Image.fromarray(np.asarray(plain).astype(np.uint16) * 257).save(tmp_path / "other.png")
    else:
        white = plain.point(lambda value: 255 if value > 128 else value)
        white.save(tmp_path / "plain.png")
        hidden = Image.merge("LA", (plain.point(lambda value: 7 if value > 128 else value), plain))
        hidden.putalpha(plain.point(lambda value: 0 if value > 128 else 255))
        (hidden if form == "hidden colours" else hidden.convert("RGBA").quantize(256)).save(tmp_path / "other.png")

    first, second = (read_photo(tmp_path / name, relative=name, label="a") for name in ("plain.png", "other.png"))

    seen = [np.frombuffer(photo.look, np.uint8).astype(int) for photo in (first, second)]
    assert np.abs(seen[0] - seen[1]).max() <= 16  # a palette has 256 colours
    assert np.ptp(seen[0]) > 20
    shown = [pixels_of((tmp_path / name).read_bytes(), 64, 64).astype(int) for name in ("plain.png", "other.png")]
    assert np.abs(shown[0] - shown[1]).max() <= 16  # a palette has 256 colours


def test_a_file_that_no_server_takes_is_named_before_any_work(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", {"a": 2, "b": 2})
    first, second = sorted((root / "a").iterdir())
    os.truncate(first, BYTES_MAX)
    os.truncate(second, BYTES_MAX + 1)

    (broken,) = scan_folder(root).broken

    assert broken.path == second
    assert broken.why == "has 20,971,521 bytes, and servers take at most 20,971,520"


def test_a_picture_beyond_all_bounds_is_not_called_damaged(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", {"a": 2, "b": 2})
    Image.new("1", (20_000, 20_000)).save(root / "a/huge.png")

    (broken,) = scan_folder(root).broken

    assert broken.why == "has far more pixels than the 50,331,648 that servers take"


def test_a_folder_inside_a_class_is_named_though_its_name_is_not_utf_8(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "a" / os.fsdecode("พระ".encode("cp874"))).mkdir()
    with pytest.raises(ClassesWrong, match=r"\\udcbe\\udcc3\\udcd0 is a folder inside a class folder"):
        load_folder(tmp_path)


def test_a_scan_keeps_what_is_whole_and_lists_what_is_broken(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 3, "b": 2})
    (tmp_path / "a/front_000.jpg").write_bytes(b"no")
    (tmp_path / "b/front_000.jpg").write_bytes(b"")
    told: list[tuple[int, int]] = []
    scan = scan_folder(tmp_path, progress=lambda done, total: told.append((done, total)))
    assert [broken.path.name for broken in scan.broken] == ["front_000.jpg", "front_000.jpg"]
    assert len(scan.photos) == 3
    assert told == [(done, 5) for done in range(1, 6)]
    with pytest.raises(PhotoBroken, match="1 more file"):
        load_folder(tmp_path)
