"""Canaries: what a photograph carries beside its pixels, and what a caller entrusts, shows up nowhere."""

from __future__ import annotations

import logging
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from gateway.sealing import Sealed
from protos.amulet.v1 import prediction_pb2 as pb
from tests.unit.gateway.cast import SOMCHAI, Gateway, encoded, photo, policy, refusal_of, running_gateway
from tests.unit.gateway.test_sealing import unseal

pytestmark = pytest.mark.asyncio(loop_scope="module")
CANARY: Final = "canary-4711-in-the-mine"
SUBJECT: Final = "subject-canary-0815"
PICTURE = Image.open(BytesIO(photo("red", side_px=128)))


def with_metadata(form: str, picture: Image.Image = PICTURE) -> bytes:
    """The picture as a photograph with the canary in EXIF (also a GPS tag), XMP, ICC profile, comment and trailer."""
    exif = Image.Exif()
    exif[0x010E] = CANARY  # ImageDescription
    exif.get_ifd(0x8825)[1] = CANARY  # GPSLatitudeRef
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile += CANARY.encode()
    profile[0:4] = len(profile).to_bytes(4)
    options: dict[str, object] = {"exif": exif, "icc_profile": bytes(profile), "xmp": f"<x>{CANARY}</x>".encode()}
    if form == "JPEG":
        options["comment"] = CANARY.encode()
    if form == "PNG":
        info = PngInfo()
        info.add_text("Comment", CANARY)
        info.add_itxt("Author", CANARY, zip=True)
        options["pnginfo"] = info
        del options["xmp"]
    content = encoded(picture, form, **options)
    assert CANARY.encode() in content
    return content + CANARY.encode()


def files_below(folder: Path) -> dict[str, bytes]:
    return {f"the file {path.name}": path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
async def test_metadata_and_secrets_are_in_nothing_stored_logged_sent_on_or_answered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, form: str
) -> None:
    content = with_metadata(form)  # Pillow logs what it writes: before anybody listens
    caplog.set_level(logging.DEBUG)
    private = X25519PrivateKey.generate()
    subject = pb.Subject(pseudonym=SUBJECT, consent_reference="consent-1", retention=pb.RETENTION_KEEP)
    explain = pb.Explain(method=pb.Explain.METHOD_GRAD_CAM, overlay=True)

    async with running_gateway(
        tmp_path, policy=policy(photo_seal_public_key=private.public_key().public_bytes_raw())
    ) as gateway:
        answered = await gateway.predict(content, subject=subject, explain=explain)
        await refusal_of(gateway.predict(content[: len(content) // 2] + CANARY.encode(), subject=subject))
        await refusal_of(gateway.predict(content, metadata=(("x-api-key", CANARY),)))
        event = await gateway.event_of(answered)
        _, metrics = await gateway.page("/metrics")
        sent_on = b"".join(gateway.graph.pixels_seen(index).tobytes() for index in range(len(gateway.graph.seen)))

    sealed = event.views[0].photo
    kept = unseal(Sealed(sealed.ephemeral_public_key, sealed.nonce, sealed.ciphertext), private, answered.prediction_id)
    places = {
        "the answer": answered.SerializeToString(),
        "the event": event.SerializeToString(),
        "the kept photograph": kept,
        "the overlay": answered.heat_maps[0].overlay_png,
        "what the backend saw": sent_on,
        "the log": caplog.text.encode(),
        "the metrics": metrics.encode(),
        **files_below(tmp_path),
    }
    for place, found in places.items():
        assert CANARY.encode() not in found, place
        assert SOMCHAI.text.encode() not in found, place
    for place in ("the log", "the metrics", "the answer", "what the backend saw"):
        assert SUBJECT.encode() not in places[place], place
    assert SUBJECT.encode() in places["the event"]  # the control: this search finds what is there


async def test_the_pixels_alone_decide_what_travels_on(gateway: Gateway) -> None:
    await gateway.predict(with_metadata("PNG"))
    await gateway.predict(encoded(PICTURE, "PNG"))

    plain, laden = gateway.graph.pixels_seen(0), gateway.graph.pixels_seen(1)
    assert np.abs(plain.astype(int) - laden.astype(int)).max() <= 2  # the sRGB profile, applied, rounds
