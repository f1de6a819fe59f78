"""What people read for each reason, in Thai and English: what was found, and what would help.

The message of an error status is English and precise, for whoever mends the caller; these
sentences are for the person with the photograph in hand. A test walks the enum, so that
no reason is without words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from protos.amulet.v1 import vocabulary_pb2 as words

LANGUAGES: Final = ("en", "th")
DEFAULT_LANGUAGE: Final = "en"
_LANGUAGE_RANGE: Final = re.compile(
    r"\s*([A-Za-z]{1,8}|\*)(?:-[A-Za-z0-9-]{1,64})?\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?))?\s*"
)


def language_of(accept_language: str) -> str:
    """The best of our languages for an `accept-language` (RFC 9110 section 12.5.4); English otherwise."""
    best, best_quality = DEFAULT_LANGUAGE, 0.0
    for part in accept_language[:200].split(","):
        found = _LANGUAGE_RANGE.fullmatch(part)
        if not found:
            continue
        tag = DEFAULT_LANGUAGE if found[1] == "*" else found[1].lower()
        quality = float(found[2]) if found[2] else 1.0
        if tag in LANGUAGES and quality > best_quality:
            best, best_quality = tag, quality
    return best


@dataclass(frozen=True, slots=True)
class Words:
    """One reason in one language."""

    message: str  # what was found
    advice: str  # what would help


def words_for(reason: words.Reason.ValueType, language: str) -> Words:
    return WORDS[reason][language]


def look_alikes(
    alike_from: Sequence[words.Side.ValueType], decided_by: Sequence[words.Side.ValueType], language: str
) -> Words:
    """From which sides two kinds look alike, and photographs of which other sides would decide."""
    general = words_for(words.REASON_LOOK_ALIKES, language)
    message, advice = _ALIKE_FROM[language], _PHOTOGRAPH[language]
    return Words(
        message.format(sides=_sides(alike_from, language)) if all(alike_from) else general.message,
        advice.format(sides=_sides(decided_by, language)) if decided_by else general.advice,
    )


def _sides(sides: Sequence[words.Side.ValueType], language: str) -> str:
    return _OR[language].join(_SIDES[side][language] for side in sides)


def _both(en: str, en_advice: str, th: str, th_advice: str) -> Mapping[str, Words]:
    return MappingProxyType({"en": Words(en, en_advice), "th": Words(th, th_advice)})


_ALIKE_FROM: Final = MappingProxyType(
    {
        "en": "The two best candidates look alike from {sides}.",
        "th": "คำตอบสองอันดับแรกดูเหมือนกันเมื่อมองจาก{sides}",
    }
)
_PHOTOGRAPH: Final = MappingProxyType({"en": "Photograph {sides} as well.", "th": "ถ่าย{sides}เพิ่มด้วย"})
_OR: Final = MappingProxyType({"en": " or ", "th": "หรือ"})
_SIDES: Final[Mapping[words.Side.ValueType, Mapping[str, str]]] = MappingProxyType(
    {
        words.SIDE_FRONT: {"en": "the front", "th": "ด้านหน้า"},
        words.SIDE_BACK: {"en": "the back", "th": "ด้านหลัง"},
        words.SIDE_EDGE: {"en": "the edge", "th": "ขอบ"},
        words.SIDE_DETAIL: {"en": "a detail close up", "th": "รายละเอียดระยะใกล้"},
    }
)
_ARCHIVE_EN: Final = "Build the archive again with `amulet package` and push it again."
_ARCHIVE_TH: Final = "สร้างไฟล์โมเดลใหม่ด้วย `amulet package` แล้วส่งอีกครั้ง"
_RETRY_EN: Final = "Try again in a moment."
_RETRY_TH: Final = "โปรดลองอีกครั้งในอีกสักครู่"
_NEW_KEY_EN: Final = "Ask the operator for a valid key."
_NEW_KEY_TH: Final = "ติดต่อผู้ดูแลระบบเพื่อขอคีย์ที่ใช้ได้"
_RETAKE_EN: Final = "Save the photograph again as JPEG, PNG or WebP, or take a new one."
_RETAKE_TH: Final = "บันทึกภาพใหม่เป็น JPEG, PNG หรือ WebP หรือถ่ายภาพใหม่"

WORDS: Final[Mapping[words.Reason.ValueType, Mapping[str, Words]]] = MappingProxyType(
    {
        words.REASON_UNSPECIFIED: _both(
            "No reason was given.", "Ask the operator.", "ไม่ได้ระบุเหตุผล", "โปรดติดต่อผู้ดูแลระบบ"
        ),
        words.REASON_NOT_OUR_KIND: _both(
            "This does not look like anything that the model knows.",
            "Photograph one object alone, filling the picture, out of its case and on a plain background.",
            "ภาพนี้ไม่เหมือนสิ่งใดที่โมเดลรู้จัก",
            "ถ่ายวัตถุเพียงชิ้นเดียวให้เต็มภาพ นำออกจากกรอบ และวางบนพื้นเรียบ",
        ),
        words.REASON_UNFAMILIAR: _both(
            "This is near the border of what the model knows.",
            "Add a view of the other side and of the edge, out of its case, in even light.",
            "ภาพนี้อยู่ใกล้ขอบเขตของสิ่งที่โมเดลรู้จัก",
            "เพิ่มภาพอีกด้านและภาพขอบ นำออกจากกรอบ และถ่ายในแสงสม่ำเสมอ",
        ),
        words.REASON_LOW_CONFIDENCE: _both(
            "No candidate is probable enough to name.",
            "Add a sharper photograph from straight above, or views of the other side and the edge.",
            "ไม่มีคำตอบใดที่มั่นใจมากพอ",
            "เพิ่มภาพที่คมชัดจากด้านบนตรง ๆ หรือภาพอีกด้านและภาพขอบ",
        ),
        words.REASON_TOO_CLOSE_TO_CALL: _both(
            "The two best candidates are nearly equally probable.",
            "Photograph what tells the two apart: the other side, the edge, a detail close up.",
            "คำตอบสองอันดับแรกมีโอกาสใกล้เคียงกันมาก",
            "ถ่ายจุดที่แยกสองแบบออกจากกันได้ เช่น ด้านหลัง ขอบ หรือรายละเอียดระยะใกล้",
        ),
        words.REASON_BLURRED: _both(
            "The photograph is blurred.",
            "Hold the camera still, tap on the object to focus, and keep 15 to 20 cm away.",
            "ภาพไม่คมชัด",
            "ถือกล้องให้นิ่ง แตะที่วัตถุเพื่อโฟกัส และเว้นระยะ 15 ถึง 20 ซม.",
        ),
        words.REASON_TOO_DARK: _both(
            "The photograph is too dark.",
            "Use daylight or a lamp from the side, and keep your own shadow off the object.",
            "ภาพมืดเกินไป",
            "ใช้แสงธรรมชาติหรือโคมไฟส่องจากด้านข้าง และอย่าให้เงาของตัวเองบังวัตถุ",
        ),
        words.REASON_TOO_BRIGHT: _both(
            "The photograph is too bright.",
            "Turn the flash off and move out of direct light.",
            "ภาพสว่างเกินไป",
            "ปิดแฟลชและหลีกเลี่ยงแสงที่ส่องตรง",
        ),
        words.REASON_LOW_CONTRAST: _both(
            "The photograph shows hardly any contrast.",
            "Light the object from the side so that its relief throws shadows, and clean the lens.",
            "ภาพแทบไม่มีความต่างของแสงและเงา",
            "ให้แสงส่องจากด้านข้างเพื่อให้ลวดลายเกิดเงา และเช็ดเลนส์ให้สะอาด",
        ),
        words.REASON_SMALL_SOURCE: _both(
            "The photograph is smaller than what the model looks at.",
            "Send the original photograph, not a thumbnail or a screenshot.",
            "ภาพเล็กกว่าขนาดที่โมเดลใช้",
            "ส่งภาพต้นฉบับ ไม่ใช่ภาพย่อหรือภาพหน้าจอ",
        ),
        words.REASON_VIEWS_DISAGREE: _both(
            "The views do not look like one and the same object.",
            "Check that every view shows the same object, and send other objects apart.",
            "ภาพแต่ละมุมดูไม่เหมือนวัตถุชิ้นเดียวกัน",
            "ตรวจว่าทุกภาพเป็นวัตถุชิ้นเดียวกัน และส่งวัตถุชิ้นอื่นแยกกัน",
        ),
        words.REASON_NO_TIME_TO_EXPLAIN: _both(
            "The deadline left no time for the heat map; the answer stands without it.",
            "Allow more time, or ask again for the explanation alone.",
            "เวลาไม่พอสำหรับแผนที่ความร้อน แต่ผลการประเมินยังใช้ได้",
            "กำหนดเวลาให้นานขึ้น หรือขอคำอธิบายอีกครั้ง",
        ),
        words.REASON_LOOK_ALIKES: _both(
            "The two best candidates look alike in photographs.",
            "No photograph that the model learnt from tells them apart: have an expert look at the object itself.",
            "คำตอบสองอันดับแรกดูเหมือนกันในภาพถ่าย",
            "ไม่มีภาพใดที่โมเดลเรียนรู้มาแยกสองแบบนี้ได้ ควรให้ผู้เชี่ยวชาญดูวัตถุจริง",
        ),
        words.REASON_PHOTO_MISSING: _both(
            "There is no photograph.", "Send at least one photograph.", "ไม่มีภาพถ่าย", "โปรดส่งภาพถ่ายอย่างน้อยหนึ่งภาพ"
        ),
        words.REASON_PHOTO_FORMAT_NOT_ALLOWED: _both(
            "The file is not a photograph of a kind that is accepted.",
            "Save it as JPEG, PNG or WebP.",
            "ไฟล์ไม่ใช่ภาพถ่ายในรูปแบบที่รองรับ",
            "บันทึกเป็น JPEG, PNG หรือ WebP",
        ),
        words.REASON_PHOTO_CORRUPT: _both(
            "The photograph is damaged or cut off.", _RETAKE_EN, "ไฟล์ภาพเสียหายหรือไม่ครบถ้วน", _RETAKE_TH
        ),
        words.REASON_PHOTO_TOO_LARGE: _both(
            "The photograph's file is too large.",
            "Send at most 20 MiB, for example as JPEG.",
            "ไฟล์ภาพใหญ่เกินไป",
            "ส่งไฟล์ไม่เกิน 20 MiB เช่น ในรูปแบบ JPEG",
        ),
        words.REASON_PHOTO_TOO_MANY_PIXELS: _both(
            "The photograph has too many pixels.",
            "Scale it down to at most 50 megapixels.",
            "ภาพมีจำนวนพิกเซลมากเกินไป",
            "ย่อภาพให้ไม่เกิน 50 ล้านพิกเซล",
        ),
        words.REASON_PHOTO_TOO_SMALL: _both(
            "The photograph is too small to show anything.",
            "Send the original photograph, not a thumbnail.",
            "ภาพเล็กเกินกว่าจะมองเห็นรายละเอียด",
            "ส่งภาพต้นฉบับ ไม่ใช่ภาพย่อ",
        ),
        words.REASON_PHOTO_ANIMATED: _both(
            "The file is animated.", "Send a still photograph.", "ไฟล์เป็นภาพเคลื่อนไหว", "โปรดส่งภาพนิ่ง"
        ),
        words.REASON_PHOTO_TOO_COSTLY: _both(
            "The photograph takes too long to open.", _RETAKE_EN, "ภาพนี้ใช้เวลาเปิดนานเกินไป", _RETAKE_TH
        ),
        words.REASON_FIELD_INVALID: _both(
            "The request is not of the right form.",
            "The app that sent it has to be corrected.",
            "รูปแบบคำขอไม่ถูกต้อง",
            "ต้องแก้ไขแอปที่ส่งคำขอนี้",
        ),
        words.REASON_TOO_MANY_VIEWS: _both(
            "There are too many photographs of one object.",
            "Send at most eight.",
            "จำนวนภาพของวัตถุชิ้นเดียวมากเกินไป",
            "ส่งได้ไม่เกินแปดภาพ",
        ),
        words.REASON_MODEL_NOT_FOUND: _both(
            "There is no such model.", "Choose one of those listed.", "ไม่มีโมเดลนี้", "เลือกจากรายการโมเดลที่มี"
        ),
        words.REASON_VERSION_NOT_FOUND: _both(
            "The model has no such version.",
            "Choose one of those listed, or name none.",
            "โมเดลไม่มีเวอร์ชันนี้",
            "เลือกจากรายการเวอร์ชันที่มี หรือไม่ต้องระบุ",
        ),
        words.REASON_CLASS_NOT_FOUND: _both(
            "The model has no such class.",
            "Choose one from its card.",
            "โมเดลไม่มีประเภทนี้",
            "เลือกจากรายการในบัตรข้อมูลโมเดล",
        ),
        words.REASON_PREDICTION_NOT_FOUND: _both(
            "There is no such prediction.",
            "Use the id that came with the answer.",
            "ไม่พบผลการประเมินนี้",
            "ใช้รหัสที่ได้รับพร้อมผลการประเมิน",
        ),
        words.REASON_IDEMPOTENCY_CONFLICT: _both(
            "This request's key was used for another request.",
            "Use a new key for every new request.",
            "คีย์ของคำขอนี้ถูกใช้กับคำขออื่นแล้ว",
            "ใช้คีย์ใหม่สำหรับคำขอใหม่ทุกครั้ง",
        ),
        words.REASON_KEY_MISSING: _both("The API key is missing.", _NEW_KEY_EN, "ไม่มีคีย์ API", _NEW_KEY_TH),
        words.REASON_KEY_UNKNOWN: _both("The API key is not known.", _NEW_KEY_EN, "ไม่รู้จักคีย์ API นี้", _NEW_KEY_TH),
        words.REASON_KEY_REVOKED: _both(
            "The API key is no longer valid.", _NEW_KEY_EN, "คีย์ API นี้ใช้ไม่ได้แล้ว", _NEW_KEY_TH
        ),
        words.REASON_MODEL_NOT_PERMITTED: _both(
            "This key may not use this model.",
            "Ask the operator for access.",
            "คีย์นี้ไม่มีสิทธิ์ใช้โมเดลนี้",
            "ติดต่อผู้ดูแลระบบเพื่อขอสิทธิ์",
        ),
        words.REASON_RATE_LIMITED: _both(
            "Too many calls in a short time.", "Wait a little and try again.", "เรียกใช้ถี่เกินไป", "รอสักครู่แล้วลองอีกครั้ง"
        ),
        words.REASON_OVERLOADED: _both("The service is busy.", _RETRY_EN, "ระบบกำลังทำงานเต็มที่", _RETRY_TH),
        words.REASON_DEADLINE_EXCEEDED: _both(
            "The answer was not ready in time.",
            "Allow more time and try again.",
            "ประมวลผลไม่ทันเวลาที่กำหนด",
            "กำหนดเวลาให้นานขึ้นแล้วลองอีกครั้ง",
        ),
        words.REASON_MODEL_NOT_READY: _both("The model is not ready yet.", _RETRY_EN, "โมเดลยังไม่พร้อมใช้งาน", _RETRY_TH),
        words.REASON_BACKEND_UNAVAILABLE: _both("The model does not answer.", _RETRY_EN, "โมเดลไม่ตอบสนอง", _RETRY_TH),
        words.REASON_JOURNAL_UNAVAILABLE: _both(
            "Answers cannot be recorded at the moment, so none are given.",
            _RETRY_EN,
            "ขณะนี้บันทึกผลไม่ได้ จึงยังไม่ให้ผลการประเมิน",
            _RETRY_TH,
        ),
        words.REASON_SHUTTING_DOWN: _both("The service is restarting.", _RETRY_EN, "ระบบกำลังเริ่มใหม่", _RETRY_TH),
        words.REASON_POLICY_MISSING: _both("The service is not set up yet.", _RETRY_EN, "ระบบยังตั้งค่าไม่เสร็จ", _RETRY_TH),
        words.REASON_ARCHIVE_UNREADABLE: _both(
            "The archive cannot be read.", _ARCHIVE_EN, "อ่านไฟล์โมเดลไม่ได้", _ARCHIVE_TH
        ),
        words.REASON_ARCHIVE_TOO_LARGE: _both(
            "The archive is too large.", _ARCHIVE_EN, "ไฟล์โมเดลใหญ่เกินไป", _ARCHIVE_TH
        ),
        words.REASON_ARCHIVE_PATH_UNSAFE: _both(
            "The archive holds an unsafe path.", _ARCHIVE_EN, "ไฟล์โมเดลมีพาธที่ไม่ปลอดภัย", _ARCHIVE_TH
        ),
        words.REASON_ARCHIVE_MEMBER_NOT_ALLOWED: _both(
            "The archive holds a file that does not belong there.", _ARCHIVE_EN, "ไฟล์โมเดลมีไฟล์ที่ไม่ควรมี", _ARCHIVE_TH
        ),
        words.REASON_ARCHIVE_MEMBER_MISSING: _both(
            "The archive lacks a file.", _ARCHIVE_EN, "ไฟล์โมเดลขาดไฟล์ที่จำเป็น", _ARCHIVE_TH
        ),
        words.REASON_ARCHIVE_PICKLE: _both(
            "The archive holds a pickle, which could run code.",
            _ARCHIVE_EN,
            "ไฟล์โมเดลมี pickle ซึ่งอาจรันโค้ดได้",
            _ARCHIVE_TH,
        ),
        words.REASON_ARCHIVE_HANDLER_NOT_ALLOWED: _both(
            "The archive's handler is not on the list.",
            _ARCHIVE_EN,
            "handler ในไฟล์โมเดลไม่อยู่ในรายการที่อนุญาต",
            _ARCHIVE_TH,
        ),
        words.REASON_ARCHIVE_CARD_INVALID: _both(
            "The model's card is wrong.", _ARCHIVE_EN, "บัตรข้อมูลโมเดลไม่ถูกต้อง", _ARCHIVE_TH
        ),
        words.REASON_ARCHIVE_GRAPH_INVALID: _both(
            "The model's graph is wrong.", _ARCHIVE_EN, "กราฟของโมเดลไม่ถูกต้อง", _ARCHIVE_TH
        ),
        words.REASON_ARCHIVE_UNSIGNED: _both(
            "The archive is not signed.",
            "Sign it with `amulet package --sign`.",
            "ไฟล์โมเดลไม่ได้ลงลายเซ็น",
            "ลงลายเซ็นด้วย `amulet package --sign`",
        ),
        words.REASON_ARCHIVE_SIGNATURE_INVALID: _both(
            "The archive's signature does not match its content.",
            _ARCHIVE_EN,
            "ลายเซ็นไม่ตรงกับเนื้อหาของไฟล์โมเดล",
            _ARCHIVE_TH,
        ),
        words.REASON_ARCHIVE_SIGNER_NOT_TRUSTED: _both(
            "The archive's signer is not trusted.",
            "Have an administrator add the signer's public key.",
            "ผู้ลงลายเซ็นไฟล์โมเดลไม่อยู่ในรายการที่เชื่อถือ",
            "ให้ผู้ดูแลระบบเพิ่มกุญแจสาธารณะของผู้ลงลายเซ็น",
        ),
        words.REASON_ARCHIVE_MANIFEST_INVALID: _both(
            "The archive's manifest is wrong.", _ARCHIVE_EN, "manifest ของไฟล์โมเดลไม่ถูกต้อง", _ARCHIVE_TH
        ),
        words.REASON_ARCHIVE_SCANNER: _both(
            "A scanner objects to the archive.", _ARCHIVE_EN, "เครื่องมือตรวจสอบไม่ยอมรับไฟล์โมเดล", _ARCHIVE_TH
        ),
        words.REASON_ARCHIVE_SPLIT_LEAKS: _both(
            "Photographs stand on both sides of the model's split.",
            "Divide the photographs again and train again.",
            "มีภาพซ้ำทั้งสองฝั่งของชุดข้อมูล",
            "แบ่งชุดข้อมูลใหม่แล้วฝึกโมเดลอีกครั้ง",
        ),
        words.REASON_ARCHIVE_DUPLICATE: _both(
            "This version exists already.",
            "Give the new version a name of its own.",
            "มีเวอร์ชันนี้อยู่แล้ว",
            "ตั้งชื่อเวอร์ชันใหม่ให้ไม่ซ้ำ",
        ),
        words.REASON_INTERNAL: _both(
            "Something went wrong on our side.",
            "Quote the request id to the operator.",
            "เกิดข้อผิดพลาดในระบบ",
            "แจ้งรหัสคำขอแก่ผู้ดูแลระบบ",
        ),
    }
)
