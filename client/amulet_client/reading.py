"""An answer as a person reads it, in Thai or English, always with the disclaimer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from amulet_client.answers import Candidate, Finding, Prediction
from protos.wording import DISCLAIMER

_VERDICTS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "en": {
            "IN_DOMAIN": "Recognised",
            "UNSURE": "Not sure",
            "OUT_OF_DISTRIBUTION": "None of the known kinds",
        },
        "th": {
            "IN_DOMAIN": "ระบุได้",
            "UNSURE": "ไม่แน่ใจ",
            "OUT_OF_DISTRIBUTION": "ไม่ใช่ชนิดที่ระบบรู้จัก",
        },
    }
)
_REVIEWED: Final[Mapping[str, str]] = MappingProxyType(
    {"en": "A person will look at this one.", "th": "ผู้เชี่ยวชาญจะตรวจสอบรายการนี้"}
)
_ONE_OF: Final[Mapping[str, str]] = MappingProxyType(
    {"en": "With {coverage:.0%} certainty one of: {names}", "th": "มั่นใจ {coverage:.0%} ว่าเป็นหนึ่งใน: {names}"}
)
_ALIKE: Final[Mapping[str, str]] = MappingProxyType({"en": "Similar examples: {listed}", "th": "ตัวอย่างที่คล้าย: {listed}"})
_LEVEL: Final[Mapping[str, str]] = MappingProxyType({"en": "Sure of the group:", "th": "มั่นใจในระดับกลุ่ม:"})
_CLASSES: Final[Mapping[str, str]] = MappingProxyType({"en": "Among the kinds themselves:", "th": "ในระดับชนิด:"})
_HEAT_MAP: Final[Mapping[str, str]] = MappingProxyType({"en": "Heat map: {path}", "th": "แผนที่ความร้อน: {path}"})
_SUMMARY: Final[Mapping[str, str]] = MappingProxyType({"en": "Summary", "th": "สรุป"})
_PHOTO: Final[Mapping[str, str]] = MappingProxyType({"en": "photograph {number}", "th": "ภาพที่ {number}"})


def describe(prediction: Prediction, language: str = "en", *, heat_maps: Sequence[str] = ()) -> str:
    """Several lines: the verdict, the candidates, each reason with its advice, the disclaimer.

    heat_maps: where its heat maps were written.

    An answer that is out of distribution shows no candidates: they would only mislead.
    Unknown languages read as English. Names, messages and the disclaimer come from the
    gateway, in the language that the client asked for.
    """
    words = _words(language)
    lines = [_VERDICTS[words].get(prediction.verdict, prediction.verdict)]
    if prediction.verdict != "OUT_OF_DISTRIBUTION":
        lines += _candidate_lines(prediction, words)
        lines += _alike_line(prediction, words)
    lines += [f"  – {_advised(each)}" for each in prediction.reasons]
    lines += _view_lines(prediction, words)
    if prediction.will_be_reviewed:
        lines.append(f"  {_REVIEWED[words]}")
    lines += [f"  {_HEAT_MAP[words].format(path=path)}" for path in heat_maps]
    lines.append(f"  {prediction.disclaimer or DISCLAIMER[words]}")
    return "\n".join(lines)


def summarise(prediction: Prediction, language: str = "en") -> str:
    """The verdict, and the best candidate with its probability unless the answer is out of distribution: a few words.

    Where a person sees it, the disclaimer belongs below.
    """
    words = _words(language)
    verdict, best = _VERDICTS[words].get(prediction.verdict, prediction.verdict), prediction.best
    if best is None or prediction.verdict == "OUT_OF_DISTRIBUTION":
        return verdict
    return f"{verdict}: {best.display_name or best.class_id} {best.probability:.1%}"


def summary(lines: Sequence[str], language: str = "en", *, disclaimer: str = "") -> str:
    """A heading, a line for each answer, the disclaimer: the gateway's, or ours where it sent none."""
    words = _words(language)
    return "\n".join([_SUMMARY[words], *(f"  {line}" for line in lines), f"  {disclaimer or DISCLAIMER[words]}"])


def _words(language: str) -> str:
    return "th" if language.lower().startswith("th") else "en"


def _candidate_lines(prediction: Prediction, words: str) -> list[str]:
    """Where the answer stands above the classes, first what it is sure of, then the classes."""

    def listed(candidates: Sequence[Candidate]) -> list[str]:
        return [f"  {each.probability:6.1%}  {each.display_name or each.class_id}" for each in candidates]

    above = bool(prediction.level) and prediction.verdict == "UNSURE"
    lines = [f"  {_LEVEL[words]}"] if above else []
    lines += [*listed(prediction.candidates), *_set_line(prediction, words)]
    if prediction.class_candidates:
        lines += [f"  {_CLASSES[words]}", *listed(prediction.class_candidates)]
    return lines


def _set_line(prediction: Prediction, words: str) -> list[str]:
    """What the answer lies among, where that is more than the best candidate."""
    if len(prediction.prediction_set) < 2:
        return []
    names = {each.class_id: each.display_name or each.class_id for each in prediction.candidates}
    listed = ", ".join(names.get(class_id, class_id) for class_id in prediction.prediction_set)
    return [f"  {_ONE_OF[words].format(coverage=prediction.set_coverage, names=listed)}"]


def _alike_line(prediction: Prediction, words: str) -> list[str]:
    listed = ", ".join(
        f"{each.display_name or each.class_id} {each.example_id} ({each.similarity_ratio:.2f})"
        for each in prediction.nearest_examples
    )
    return [f"  {_ALIKE[words].format(listed=listed)}"] if listed else []


def _view_lines(prediction: Prediction, words: str) -> list[str]:
    """Remarks on single photographs that the reasons of the whole answer have not made already."""
    said = {(each.reason, each.view) for each in prediction.reasons}
    said |= {(each.reason, 0) for each in prediction.reasons if len(prediction.views) == 1}
    lines = []
    for index, view in enumerate(prediction.views):
        place = f"{_PHOTO[words].format(number=index + 1)}: " if len(prediction.views) > 1 else ""
        lines += [f"  – {place}{_advised(each)}" for each in view.findings if (each.reason, index) not in said]
    return lines


def _advised(finding: Finding) -> str:
    return f"{finding.message} {finding.advice}".strip() or finding.reason
