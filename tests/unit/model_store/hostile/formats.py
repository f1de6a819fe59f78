"""Members of another format than their name says, and pickles anywhere."""

from __future__ import annotations

import io
import pickle
import zipfile
from functools import partial
from typing import Final

import numpy as np
from onnx import TensorProto
from PIL import Image, PngImagePlugin

from protos.amulet.v1 import vocabulary_pb2 as words
from tests import tiny_archive
from tests.unit.model_store.cast import Entry, zip_of
from tests.unit.model_store.hostile import Cases, Fires, Material, changed_graph, with_graph

cases: Final = Cases()


def _weights_pickled(m: Material, protocol: int) -> bytes:
    return m.signed({**m.good, "model.onnx": pickle.dumps(Fires(m.command), protocol=protocol)})


def _pickle_among_the_weights(m: Material, protocol: int) -> bytes:
    stowaway = pickle.dumps(Fires(m.command), protocol=protocol)
    return with_graph(m, changed_graph(lambda model: model.graph.initializer.append(_bytes_as_weights(stowaway))))


def _bytes_as_weights(content: bytes) -> TensorProto:
    return TensorProto(name="stowaway", data_type=TensorProto.UINT8, dims=[len(content)], raw_data=content)


for _protocol in range(6):
    cases.add(
        f"weights_pickled_with_protocol_{_protocol}",
        words.REASON_ARCHIVE_PICKLE,
        partial(_weights_pickled, protocol=_protocol),
    )
    cases.add(
        f"pickle_of_protocol_{_protocol}_among_the_weights",
        words.REASON_ARCHIVE_PICKLE,
        partial(_pickle_among_the_weights, protocol=_protocol),
    )


@cases.refused_for(words.REASON_ARCHIVE_PICKLE)
def reference_pickled(m: Material) -> bytes:
    return m.signed({**m.good, "reference.json": pickle.dumps(Fires(m.command), protocol=0)})


@cases.refused_for(words.REASON_ARCHIVE_PICKLE)
def golden_pickled(m: Material) -> bytes:
    return m.signed({**m.good, "golden_0.png": pickle.dumps(Fires(m.command))})


@cases.refused_for(words.REASON_ARCHIVE_PICKLE)
def weights_in_pytorchs_own_form(m: Material) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as inner:
        inner.writestr("archive/data.pkl", pickle.dumps(Fires(m.command)))
        inner.writestr("archive/version", "3\n")
    return m.signed({**m.good, "model.onnx": out.getvalue()})


@cases.refused_for(words.REASON_ARCHIVE_PICKLE)
def weights_as_an_array_of_objects(m: Material) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([Fires(m.command)], dtype=object), allow_pickle=True)
    return m.signed({**m.good, "model.onnx": out.getvalue()})


@cases.refused_for(words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED)
def zip_behind_a_photograph(m: Material) -> bytes:
    inner = zip_of([Entry(b"evil.py", m.python)])
    return m.signed({**m.good, "golden_0.png": m.good["golden_0.png"] + inner})


@cases.refused_for(words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED)
def photograph_in_another_format(m: Material) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(m.good["golden_0.png"])).save(out, "JPEG")
    return m.signed({**m.good, "golden_0.png": out.getvalue()})


@cases.refused_for(words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED)
def photograph_cut_off_within_its_header(m: Material) -> bytes:
    return m.signed({**m.good, "golden_0.png": m.good["golden_0.png"][:20]})


@cases.refused_for(words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED)
def photograph_with_text_in_it(m: Material) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "a stowaway", zip=True)
    out = io.BytesIO()
    Image.open(io.BytesIO(m.good["golden_0.png"])).save(out, "PNG", pnginfo=text)
    return m.signed({**m.good, "golden_0.png": out.getvalue()})


@cases.refused_for(words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED)
def animated_photograph(m: Material) -> bytes:
    frames = [Image.new("RGB", (tiny_archive.SIDE_PX,) * 2, colour) for colour in ("red", "blue")]
    out = io.BytesIO()
    frames[0].save(out, "PNG", save_all=True, append_images=frames[1:])
    return m.signed({**m.good, "golden_0.png": out.getvalue()})


@cases.refused_for(words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED)
def grey_photograph(m: Material) -> bytes:
    out = io.BytesIO()
    Image.new("L", (tiny_archive.SIDE_PX,) * 2).save(out, "PNG")
    return m.signed({**m.good, "golden_0.png": out.getvalue()})


@cases.refused_for(words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED)
def handler_with_a_byte_order_mark(m: Material) -> bytes:
    return m.signed({**m.good, "amulet_handler.py": b"\xef\xbb\xbf" + m.good["amulet_handler.py"]})


@cases.refused_for(words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED)
def card_in_latin_1(m: Material) -> bytes:
    return m.signed({**m.good, "model.json": '{"é": 1}'.encode("latin-1")})


@cases.refused_for(words.REASON_ARCHIVE_PICKLE)
def pickle_behind_a_million_marks(m: Material) -> bytes:
    """Made to cost a scanner that starts over at every mark quadratic time."""
    marks = b"\x80\x02" * 2_000_000 + pickle.dumps(Fires(m.command), protocol=2)
    return with_graph(m, changed_graph(lambda model: model.graph.initializer.append(_bytes_as_weights(marks))))


CASES: Final = cases.table
