"""This process's own connections to TorchServe, made at first use from the settings."""

from __future__ import annotations

from functools import cache

from django.conf import settings

from console.torchserve.inference import Inference
from console.torchserve.management import Management
from console.torchserve.tokens import Tokens


@cache
def tokens() -> Tokens:
    return Tokens(
        key_file=settings.AMULET.torchserve_key_file, management_url=settings.AMULET.torchserve_management_url
    )


@cache
def management() -> Management:
    return Management(
        address=settings.AMULET.torchserve_management_grpc, tokens=tokens(), model_store=settings.AMULET.model_store
    )


@cache
def inference() -> Inference:
    return Inference(address=settings.AMULET.torchserve_grpc, tokens=tokens())
