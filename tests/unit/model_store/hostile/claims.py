"""Code that nobody reviewed, and cards and manifests that say what is not so."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

from model_store import contents
from protos.amulet.v1 import vocabulary_pb2 as words
from tests import tiny_archive
from tests.unit.model_store.cast import with_card
from tests.unit.model_store.hostile import Cases, Material

cases: Final = Cases()


@cases.refused_for(words.REASON_ARCHIVE_HANDLER_NOT_ALLOWED)
def handler_that_does_more(m: Material) -> bytes:
    return m.signed({**m.good, "amulet_handler.py": m.good["amulet_handler.py"] + m.python})


@cases.refused_for(words.REASON_ARCHIVE_HANDLER_NOT_ALLOWED)
def stub_that_does_more(m: Material) -> bytes:
    return m.signed({**m.good, "graph_pb2.py": m.python + m.good["graph_pb2.py"]})


@cases.refused_for(words.REASON_ARCHIVE_HANDLER_NOT_ALLOWED)
def handler_and_stub_swapped(m: Material) -> bytes:
    swapped = {"amulet_handler.py": m.good["graph_pb2.py"], "graph_pb2.py": m.good["amulet_handler.py"]}
    return m.signed({**m.good, **swapped})


@cases.refused_for(words.REASON_ARCHIVE_HANDLER_NOT_ALLOWED)
def empty_handler(m: Material) -> bytes:
    return m.signed({**m.good, "amulet_handler.py": b""})


def _with_card_text(m: Material, change: Callable[[str], str]) -> bytes:
    text = m.good["model.json"].decode()
    changed = change(text)
    assert changed != text
    return m.signed({**m.good, "model.json": changed.encode()})


def _edited(m: Material, edit: Callable[[dict[str, Any]], None]) -> bytes:
    document = json.loads(m.good["model.json"])
    edit(document)
    return m.signed({**m.good, "model.json": json.dumps(document).encode()})


@cases.refused_for(words.REASON_ARCHIVE_CARD_INVALID)
def card_of_another_graph(m: Material) -> bytes:
    return _edited(m, lambda card: card["graph"].update(sha256="0" * 64))


@cases.refused_for(words.REASON_ARCHIVE_CARD_INVALID)
def card_of_another_photograph(m: Material) -> bytes:
    return _edited(m, lambda card: card["golden"][0].update(sha256="0" * 64))


@cases.refused_for(words.REASON_ARCHIVE_CARD_INVALID)
def photograph_that_the_card_does_not_list(m: Material) -> bytes:
    return m.signed({**m.good, "golden_2.png": tiny_archive.photo_of("green")})


@cases.refused_for(words.REASON_ARCHIVE_CARD_INVALID)
def card_that_is_no_json(m: Material) -> bytes:
    return _with_card_text(m, lambda text: text[:-20])


@cases.refused_for(words.REASON_ARCHIVE_CARD_INVALID)
def card_with_not_a_number(m: Material) -> bytes:
    return _with_card_text(m, lambda text: text.replace('"temperature": 1.5', '"temperature": NaN'))


@cases.refused_for(words.REASON_ARCHIVE_CARD_INVALID)
def card_with_an_endless_number(m: Material) -> bytes:
    return _with_card_text(m, lambda text: text.replace('"temperature": 1.5', '"temperature": 1e999'))


@cases.refused_for(words.REASON_ARCHIVE_CARD_INVALID)
def card_with_a_key_twice(m: Material) -> bytes:
    return _with_card_text(m, lambda text: text.replace("{", '{"name": "other",', 1))


@cases.refused_for(words.REASON_ARCHIVE_CARD_INVALID)
def card_nested_too_deeply(m: Material) -> bytes:
    return _with_card_text(
        m, lambda text: text.replace('"config": {}', '"config": ' + '{"a":' * 50_000 + "1" + "}" * 50_000)
    )


@cases.refused_for(words.REASON_ARCHIVE_CARD_INVALID)
def card_nested_deeper_than_a_message(m: Material) -> bytes:
    """Deep enough that no policy with it can be read, and not so deep that JSON refuses it."""
    return _with_card_text(m, lambda text: text.replace('"config": {}', '"config": ' + '{"a":' * 60 + "1" + "}" * 60))


@cases.refused_for(words.REASON_ARCHIVE_CARD_INVALID)
def card_with_a_name_that_no_database_takes(m: Material) -> bytes:
    return _edited(m, lambda card: card["data"].update(name="data\0"))


@cases.refused_for(words.REASON_ARCHIVE_CARD_INVALID)
def card_with_a_version_longer_than_a_name(m: Material) -> bytes:
    return _edited(m, lambda card: card.update(version="v20260101_" + "a" * 1000 + "_1.000"))


@cases.refused_for(words.REASON_ARCHIVE_CARD_INVALID)
def card_from_before_the_first_year(m: Material) -> bytes:
    return _edited(m, lambda card: card.update(created_at="0001-01-01T00:00:00+14:00"))


@cases.refused_for(words.REASON_ARCHIVE_CARD_INVALID)
def card_without_metrics(m: Material) -> bytes:
    return _edited(m, lambda card: card.update(metrics=[]))


@cases.refused_for(words.REASON_ARCHIVE_CARD_INVALID)
def metric_whose_interval_is_upside_down(m: Material) -> bytes:
    return _edited(m, lambda card: card["metrics"][0].update(low=0.9, high=0.8))


@cases.refused_for(words.REASON_ARCHIVE_CARD_INVALID)
def model_name_that_is_a_path(m: Material) -> bytes:
    return _edited(m, lambda card: card.update(name="../tiny"))


@cases.refused_for(words.REASON_ARCHIVE_CARD_INVALID)
def model_name_with_a_newline(m: Material) -> bytes:
    return _edited(m, lambda card: card.update(name="tiny\n"))


@cases.refused_for(words.REASON_ARCHIVE_CARD_INVALID)
def card_with_half_a_character(m: Material) -> bytes:
    return _with_card_text(m, lambda text: text.replace('"by hand"', '"\\ud800"'))


@cases.refused_for(words.REASON_ARCHIVE_CARD_INVALID)
def thresholds_upside_down(m: Material) -> bytes:
    return _edited(m, lambda card: card["decision"]["detectors"][0].update(out_at=-1.0))


@cases.refused_for(words.REASON_ARCHIVE_CARD_INVALID)
def thresholds_of_another_detector(m: Material) -> bytes:
    return _edited(m, lambda card: card["decision"]["detectors"][0].update(name="energy"))


def _manifest(m: Material, edit: Callable[[dict[str, Any]], None]) -> bytes:
    document = json.loads(m.good[contents.MANIFEST])
    edit(document)
    return m.signed({**m.good, contents.MANIFEST: json.dumps(document, indent=2).encode() + b"\n"})


for _key, _edit in {
    "manifest_with_requirements": lambda d: d["model"].update(requirementsFile="requirements.txt"),
    "manifest_with_an_envelope": lambda d: d["model"].update(envelope="body"),
    "manifest_with_worker_settings": lambda d: d["model"].update(configFile="model-config.yaml"),
    "manifest_with_another_handler": lambda d: d["model"].update(handler="image_classifier"),
    "manifest_with_a_function_of_the_handler": lambda d: d["model"].update(handler="amulet_handler.py:os.system"),
    "manifest_with_other_weights": lambda d: d["model"].update(serializedFile="model.json"),
    "manifest_of_another_model": lambda d: d["model"].update(modelName="other"),
    "manifest_of_another_version": lambda d: d["model"].update(modelVersion="v20250101_tiny_0.999"),
    "manifest_with_another_runtime": lambda d: d.update(runtime="LSP"),
    "manifest_without_a_model": lambda d: d.pop("model"),
}.items():
    cases.add(_key, words.REASON_ARCHIVE_MANIFEST_INVALID, partial(_manifest, edit=_edit))


@cases.refused_for(words.REASON_ARCHIVE_MANIFEST_INVALID)
def manifest_that_goes_on(m: Material) -> bytes:
    return m.signed({**m.good, contents.MANIFEST: m.good[contents.MANIFEST] * 2})


@cases.refused_for(words.REASON_ARCHIVE_MANIFEST_INVALID)
def manifest_that_only_a_lenient_reader_reads(m: Material) -> bytes:
    """Gson takes the last of two keys, and comments."""
    text = m.good[contents.MANIFEST].replace(b'"model": {', b'"model": { /* */ "handler": "evil.py",')
    return m.signed({**m.good, contents.MANIFEST: text})


@cases.refused_for(words.REASON_ARCHIVE_SPLIT_LEAKS)
def leaks_in_the_split(m: Material) -> bytes:
    pair = ("red/one.jpg", "red/one (copy).jpg")
    return m.signed(
        with_card(
            m.good, lambda card: replace(card, data=replace(card.data, split=replace(card.data.split, leaks=(pair,))))
        )
    )


CASES: Final = cases.table
