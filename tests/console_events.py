"""Events as gateways write them, for tests and measurements of the console."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from PIL import Image

from protos.amulet.events.v1 import events_pb2 as pb
from protos.amulet.v1 import prediction_pb2
from protos.amulet.v1 import vocabulary_pb2 as words

CLIENT = "5f3c1f0e-0000-4000-8000-00000000c11e"
CLASSES = ("somdej", "sivali", "nangphaya", "phong_suphan", "khun_phaen", "rup_lo")


def uuid7() -> str:
    """An id as gateways give them."""
    number = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10))
    number = number & ~(0xF << 76) | 0x7 << 76
    text = f"{number & ~(0b11 << 62) | 0b10 << 62:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def prediction_event(
    *,
    confidence: float = 0.93,
    verdict: words.Verdict.ValueType = words.VERDICT_IN_DOMAIN,
    top_class: str = CLASSES[0],
    happened_at: datetime | None = None,
    views: Sequence[pb.ViewRecord] | None = None,
    **fields: Any,
) -> pb.Event:
    """A prediction of one photograph; any field of PredictionMade by name."""
    others = [name for name in CLASSES if name != top_class]
    made = pb.PredictionMade(
        **{
            "prediction_id": uuid7(),
            "client_id": CLIENT,
            "model": "amulets",
            "version": "v20261123_tiny_0.900",
            "verdict": verdict,
            "candidates": [
                prediction_pb2.Candidate(class_id=top_class, probability=confidence),
                *(
                    prediction_pb2.Candidate(class_id=name, probability=(1 - confidence) / len(others))
                    for name in others
                ),
            ],
            "ood_scores": [
                prediction_pb2.OodScore(detector="mahalanobis", score=31.5, unsure_at=40, out_at=55),
                prediction_pb2.OodScore(detector="isolation_forest", score=0.42, unsure_at=0.5, out_at=0.6),
            ],
            "views": [view_record()] if views is None else views,
            "review_sampling_ratio": 0.02,
            "total_ms": 41.5,
            "inference_ms": 22.25,
            "policy_digest": hashlib.sha256(b"policy").digest(),
            "prediction_set": [top_class],
            **fields,
        }
    )
    return _event(happened_at, prediction=made)


def feedback_event(prediction_id: str, *, happened_at: datetime | None = None, **fields: Any) -> pb.Event:
    """What a client said later; any field of FeedbackGiven by name."""
    given = pb.FeedbackGiven(
        **{
            "feedback_id": uuid7(),
            "prediction_id": prediction_id,
            "client_id": CLIENT,
            "kind": prediction_pb2.SubmitFeedbackRequest.KIND_WRONG,
            "true_class_id": CLASSES[1],
            **fields,
        }
    )
    return _event(happened_at, feedback=given)


def failure_event(*, happened_at: datetime | None = None, **fields: Any) -> pb.Event:
    """Calls that a version did not answer; any field of CallsFailed by name."""
    failed = pb.CallsFailed(
        **{
            "model": "amulets",
            "version": "v20261123_tiny_0.900",
            "reason": words.REASON_BACKEND_UNAVAILABLE,
            "calls": 1,
            **fields,
        }
    )
    return _event(happened_at, failed=failed)


def shadow_event(prediction_id: str, answer: pb.ShadowAnswer) -> pb.Event:
    """What a shadow said after the answer's own event was written."""
    return _event(None, shadow=pb.ShadowFollowed(prediction_id=prediction_id, answer=answer))


def kept_event(
    *, pseudonym: str, consent: str, recipient: X25519PublicKey, photo: bytes | None = None, **fields: Any
) -> pb.Event:
    """A prediction whose caller wishes the photograph kept under a consent."""
    prediction_id = uuid7()
    content = png() if photo is None else photo
    return prediction_event(
        prediction_id=prediction_id,
        subject=pb.Subject(pseudonym=pseudonym, consent_reference=consent, retention=prediction_pb2.RETENTION_KEEP),
        views=[view_record(photo=sealed(content, recipient=recipient, prediction_id=prediction_id))],
        **fields,
    )


def view_record(*, photo: pb.SealedPhoto | None = None, projection: Sequence[float] = ()) -> pb.ViewRecord:
    rows, columns = np.mgrid[0:7, 0:7]
    heat = np.exp(-((rows - 2.5) ** 2 + (columns - 4) ** 2) / 4) * 255
    record = pb.ViewRecord(
        input_hash=os.urandom(32),
        side=words.SIDE_FRONT,
        width_px=1200,
        height_px=1600,
        quality=prediction_pb2.Quality(sharpness_var=180.0, brightness_ratio=0.52, contrast_ratio=0.21),
        weight_ratio=1.0,
        heat_map_rows=7,
        heat_map_columns=7,
        heat_map=heat.astype(np.uint8).tobytes(),
        embedding_projection=np.asarray(projection, "<f2").tobytes(),
    )
    if photo is not None:
        record.photo.CopyFrom(photo)
    return record


def sealed(content: bytes, *, recipient: X25519PublicKey, prediction_id: str) -> pb.SealedPhoto:
    """Seal as a gateway does."""
    ephemeral, nonce = X25519PrivateKey.generate(), os.urandom(12)
    public = ephemeral.public_key().public_bytes_raw()
    key = HKDF(SHA256(), length=32, salt=public + recipient.public_bytes_raw(), info=b"amulet photo v1")
    cipher = ChaCha20Poly1305(key.derive(ephemeral.exchange(recipient)))
    return pb.SealedPhoto(
        ephemeral_public_key=public,
        nonce=nonce,
        ciphertext=cipher.encrypt(nonce, content, prediction_id.encode()),
    )


def png(size_px: int = 96) -> bytes:
    """A photograph of nothing much, as PNG."""
    rows, columns = np.mgrid[0:size_px, 0:size_px] / size_px
    pixels = np.stack([160 + 60 * np.sin(6 * rows), 110 + 50 * np.cos(5 * columns), 80 + 40 * rows], axis=-1)
    out = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out, format="PNG")
    return out.getvalue()


def _event(happened_at: datetime | None, **body: Any) -> pb.Event:
    event = pb.Event(event_id=uuid7(), gateway_id="gateway-1", **body)
    event.happened_at.FromDatetime(happened_at or datetime.now(UTC))
    return event
