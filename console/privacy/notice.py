"""What somebody who asks for their data has to be told beside it (GDPR 15(1), PDPA 30): for what it is used, on what
basis, how long it is kept, where it came from, who gets it, and what they may ask for.

For what and how long is the record of processing's to say, which stands above this app: settings.PROCESSING_RECORD
names it, so that both say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils.module_loading import import_string
from django.utils.translation import override

from console.clients.models import Client


@dataclass(frozen=True, slots=True)
class Use:
    """One thing that is done with somebody's data, in words of the active language."""

    purpose: str
    basis: str
    holds: str  # what of them
    kept: str  # how long


def uses() -> list[Use]:
    """What is done with data of people who are no staff, in the active language. Asks no database."""
    told: Callable[[], list[Use]] = import_string(settings.PROCESSING_RECORD)
    return told()


def uses_by_language(languages: Collection[str]) -> dict[str, list[Mapping[str, str]]]:
    """Language -> the same for programs."""
    said: dict[str, list[Mapping[str, str]]] = {}
    for language in languages:
        with override(language):
            said[language] = [
                {"purpose": use.purpose, "basis": use.basis, "holds": use.holds, "kept": use.kept} for use in uses()
            ]
    return said


def callers(client_ids: Collection[Any]) -> list[str]:
    """Names of the services that sent a person's photographs and got the answers. One query."""
    known = [UUID(str(key)) for key in client_ids if _is_id(str(key))]
    return sorted(Client.objects.filter(client_id__in=known).values_list("name", flat=True))


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:  # a gateway that knew no client, as in a try-out
        return False
    return True
