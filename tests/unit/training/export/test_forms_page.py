"""The page of the deployable forms: it names the form that the figures speak for, and shows every figure."""

from __future__ import annotations

from dataclasses import replace

from training.export.comparison import PARTS, Form, Forms
from training.export.forms_page import page, sentences
from training.served.learnt import RUN, TrainedOn

FULL = Form(
    name="onnx",
    path="model.onnx",
    file_bytes=16_000_000,
    times_smaller=1.0,
    accuracy=0.9,
    accuracy_lost=0.0,
    accuracy_lost_interval=(0.0, 0.0),
    accuracy_lost_at_most=0.071,
    same_best=1.0,
    p50_ms=12.3,
    p95_ms=14.5,
    p99_ms=19.7,
    cpu_ms=12.0,
    peak_mib=210.0,
    shares=dict(zip(PARTS, (0.96, 0.01, 0.02, 0.01), strict=True)),
)
SMALL = replace(
    FULL, name="int8", path="int8/model.onnx", file_bytes=4_000_000, times_smaller=4.0, cpu_ms=6.0, accuracy_lost=0.01
)
SCRIPT = replace(FULL, name="torchscript", path="model.pt", shares={}, cpu_ms=1.0)


def forms(*measured: Form, seen: int = 0) -> Forms:
    return Forms(
        "v1", "a processor", 50, TrainedOn(seen, 50, RUN), 4, 3.21, measured, {"onnx on CUDA": "there is <no> GPU"}
    )


def test_the_faster_form_that_loses_little_is_the_one_to_take() -> None:
    first = next(iter(sentences(forms(FULL, SMALL, SCRIPT))))
    assert first == (
        "Take int8: 2.00 times as fast as fp32 on this processor and 4.0 times smaller, for 1.0 points of accuracy."
    )


def test_what_is_hardly_faster_or_loses_too_much_is_not_taken() -> None:
    for worse in (replace(SMALL, cpu_ms=11.5), replace(SMALL, accuracy_lost=0.04)):
        assert next(iter(sentences(forms(FULL, worse, SCRIPT)))).startswith("Stay with fp32")


def test_photographs_of_the_training_are_said_to_be() -> None:
    assert not any("trained on" in said for said in sentences(forms(FULL)))
    assert any("7 of 50 photographs were trained on" in said for said in sentences(forms(FULL, seen=7)))
    told = " ".join(sentences(forms(FULL, SMALL, seen=7)))
    assert "too good (4 of them for temperature and borders alone), and on others more may be lost" in told
    assert "is not" not in told
    assert "a loss of up to (95%): int8 7.1%." in told


def test_what_is_lost_stands_in_its_interval_and_time_on_one_scale() -> None:
    text = page(forms(FULL, replace(SMALL, accuracy_lost_interval=(-0.005, 0.03)), SCRIPT))
    assert "-0.010 <small>(-0.030 to +0.005), at most -0.071</small>" in text
    assert 'aria-label="-0.010, from -0.030 to 0.005"' in text
    assert text.count('class="cell"') == 2  # not of fp32 against itself
    # 3.21 ms of decoding before 12 ms of fp32 and 6 ms of 8 bits: one scale, of the longest.
    whole_ms = 3.21 + 12.0
    for taken_ms in (3.21, 0.96 * 12.0, 0.96 * 6.0, 0.02 * 6.0):
        assert f"width: {100 * taken_ms / whole_ms:.2f}%" in text
    assert "width: 25.0%" in text  # the file of 4 MB beside that of 16
    assert "forms.json" in text
    alone = page(forms(FULL, SMALL), beside="")
    assert "forms.json" not in alone
    assert "TorchScript" in text
    assert "TorchScript" not in alone


def test_the_page_shows_every_figure_and_needs_nothing_else() -> None:
    text = page(forms(FULL, SMALL, SCRIPT))
    for shown in ("16.0 MB", "4.0 MB", "12.3 ms", "14.5 ms", "19.7 ms", "210 MiB", "96.0%", "3.2 ms", "model.pt"):
        assert shown in text
    assert "there is &lt;no&gt; GPU" in text
    assert "<script" not in text
    assert "http" not in text
