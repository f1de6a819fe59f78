"""Members that do not belong into an archive, or are missing."""

from __future__ import annotations

from functools import partial
from typing import Final

from model_store import contents
from protos.amulet.v1 import vocabulary_pb2 as words
from tests import tiny_archive
from tests.unit.model_store.cast import Entry, entry, zip_of
from tests.unit.model_store.hostile import Cases, Material

cases: Final = Cases()


def _renamed(m: Material, name: bytes) -> bytes:
    return zip_of([*m.entries(), Entry(name, m.python)])


for _key, _name, _reason in (
    ("absolute_path", b"/tmp/amulet_handler.py", words.REASON_ARCHIVE_PATH_UNSAFE),
    ("climbing_path", b"../amulet_handler.py", words.REASON_ARCHIVE_PATH_UNSAFE),
    ("climbing_from_inside", b"MAR-INF/../../evil.py", words.REASON_ARCHIVE_PATH_UNSAFE),
    ("dot_path", b"./amulet_handler.py", words.REASON_ARCHIVE_PATH_UNSAFE),
    ("double_slash", b"MAR-INF//MANIFEST.json", words.REASON_ARCHIVE_PATH_UNSAFE),
    ("backslashes", b"..\\..\\evil.py", words.REASON_ARCHIVE_PATH_UNSAFE),
    ("drive_letter", b"C:evil.py", words.REASON_ARCHIVE_PATH_UNSAFE),
    ("same_name_twice", b"amulet_handler.py", words.REASON_ARCHIVE_PATH_UNSAFE),
    ("same_name_in_capitals", b"AMULET_HANDLER.py", words.REASON_ARCHIVE_PATH_UNSAFE),
    ("manifest_in_small_letters", b"mar-inf/manifest.json", words.REASON_ARCHIVE_PATH_UNSAFE),
    ("null_in_the_name", b"model.json\x00.png", words.REASON_ARCHIVE_PATH_UNSAFE),
    ("delete_in_the_name", b"golden_2.png\x7f", words.REASON_ARCHIVE_PATH_UNSAFE),
    ("newline_in_the_name", b"golden_2.png\n", words.REASON_ARCHIVE_PATH_UNSAFE),
    ("name_beyond_ascii", "model.јson".encode(), words.REASON_ARCHIVE_PATH_UNSAFE),
    ("name_of_no_letters", b"", words.REASON_ARCHIVE_PATH_UNSAFE),
    ("folder", b"lib/", words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED),
    ("requirements", b"requirements.txt", words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED),
    ("start_up_hook", b"sitecustomize.py", words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED),
    ("shadow_of_a_library", b"torch.py", words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED),
    ("package_of_its_own", b"numpy/__init__.py", words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED),
    ("compiled_module", b"graph_pb2.cpython-311-x86_64-linux-gnu.so", words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED),
    ("byte_code", b"__pycache__/graph_pb2.cpython-311.pyc", words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED),
    ("worker_settings", b"model-config.yaml", words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED),
    ("path_file", b"hook.pth", words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED),
    ("second_weights", b"model.pt", words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED),
    ("weights_beside_the_graph", b"model.onnx.data", words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED),
    ("signature_of_a_jar", b"META-INF/MANIFEST.MF", words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED),
    ("archive_inside", b"inner.mar", words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED),
    ("golden_with_a_leading_zero", b"golden_01.png", words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED),
):
    cases.add(_key, _reason, partial(_renamed, name=_name))


@cases.refused_for(words.REASON_ARCHIVE_PATH_UNSAFE)
def symbolic_link(m: Material) -> bytes:
    return zip_of([*m.entries(), Entry(b"golden_2.png", b"/etc/passwd", mode=0o120777)])


@cases.refused_for(words.REASON_ARCHIVE_PATH_UNSAFE)
def named_pipe(m: Material) -> bytes:
    return zip_of([*m.entries(), Entry(b"golden_2.png", b"", mode=0o010644)])


@cases.refused_for(words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED)
def folder_without_a_slash(m: Material) -> bytes:
    return zip_of([*m.entries(), Entry(b"golden_2.png", b"", mode=0o040755)])


@cases.refused_for(words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED)
def folder_to_windows_alone(m: Material) -> bytes:
    entries = m.entries()
    entry(entries, "golden_1.png").central = {"dos": 0x10}
    return zip_of(entries)


@cases.refused_for(words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED)
def seventeen_golden_photographs(m: Material) -> bytes:
    photographs = {f"golden_{number}.png": tiny_archive.photo_of("red", seed=number) for number in range(17)}
    return m.signed({**m.good, **photographs})


def _without(m: Material, name: str) -> bytes:
    return m.signed({key: value for key, value in m.good.items() if key != name})


for _missing in contents.REQUIRED:
    cases.add(f"without_{_missing}", words.REASON_ARCHIVE_MEMBER_MISSING, partial(_without, name=_missing))


@cases.refused_for(words.REASON_ARCHIVE_MEMBER_MISSING)
def no_golden_photograph(m: Material) -> bytes:
    return m.signed({key: value for key, value in m.good.items() if not contents.is_golden(key)})


CASES: Final = cases.table
