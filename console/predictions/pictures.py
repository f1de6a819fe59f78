"""A prediction's photographs and heat maps, decrypted on the way for one person: the same for pages and for scripts."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpResponse
from django.utils.translation import gettext as _

from console.errors import NotFound
from console.predictions import queries
from console.predictions.overlay import heat_map_png
from console.staff.models import User
from console.vault.models import Kind
from console.vault.services import open_kept

CONTENT_TYPE = "image/png"


def photograph_response(*, actor: User, prediction_id: UUID, part: int) -> HttpResponse:
    """The photograph of one view; leaves an audit entry. Raises what `open_kept` does."""
    return _picture(open_kept(actor=actor, kind=Kind.PHOTOGRAPH, owner=str(prediction_id), part=part))


def heat_map_response(*, actor: User, prediction_id: UUID, part: int) -> HttpResponse:
    """The heat map of one view as a transparent picture, under the same conditions, and not to whom it would sway."""
    owner = str(prediction_id)
    if owner in queries.withheld_from(actor, [owner]):
        raise NotFound(
            _("The model's answer is not shown before experts have judged the photograph."), reason="withheld"
        )
    content = open_kept(actor=actor, kind=Kind.HEAT_MAP, owner=owner, part=part)
    try:
        return _picture(heat_map_png(content))
    except ValueError:
        raise NotFound(_("The heat map cannot be read.")) from None


def _picture(content: bytes) -> HttpResponse:
    # Nothing of it stays behind: not in the browser's cache, not in a proxy's.
    headers = {"Cache-Control": "no-store, private", "X-Content-Type-Options": "nosniff"}
    return HttpResponse(content, content_type=CONTENT_TYPE, headers=headers)
