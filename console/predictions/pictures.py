"""A prediction's photographs and heat maps, decrypted on the way for one person: the same for pages and for scripts.

And the examples that it was given beside, which its page has within itself.
"""

from __future__ import annotations

from uuid import UUID

from django.http import HttpResponse
from django.utils.translation import gettext as _

from console.errors import NotFound
from console.predictions import queries
from console.predictions.overlay import heat_map_png
from console.predictions.similar import nearest_of
from console.staff.models import User
from console.vault.models import Kind
from console.vault.opening import open_kept

CONTENT_TYPE = "image/png"
THUMBNAIL_TYPE = "image/jpeg"


def photograph_response(*, actor: User, prediction_id: UUID, part: int) -> HttpResponse:
    """The photograph of one view; leaves an audit entry. Raises what `open_kept` does."""
    return _picture(open_kept(actor=actor, kind=Kind.PHOTOGRAPH, owner=str(prediction_id), part=part))


def heat_map_response(*, actor: User, prediction_id: UUID, part: int) -> HttpResponse:
    """The heat map of one view as a transparent picture, under the same conditions, and not to whom it would sway."""
    owner = str(prediction_id)
    _check_heard(actor, owner)
    content = open_kept(actor=actor, kind=Kind.HEAT_MAP, owner=owner, part=part)
    try:
        return _picture(heat_map_png(content))
    except ValueError:
        raise NotFound(_("The heat map cannot be read.")) from None


def similar_response(*, actor: User, prediction_id: UUID, number: int) -> HttpResponse:
    """The picture of an example that the answer was given beside, from 1, the nearest first.

    It is of the archive, for whoever may see the answer. Raises NotFound, also for whom the answer would sway.
    """
    _check_heard(actor, str(prediction_id))
    prediction = queries.newest_first().filter(pk=prediction_id).first()
    found = nearest_of(prediction, prediction.detail()) if prediction is not None else []
    content = found[number - 1].thumbnail_jpeg if 1 <= number <= len(found) else b""
    if not content:
        raise NotFound(_("There is no such example, or no picture of it to be shown."))
    return _picture(content, THUMBNAIL_TYPE)


def _check_heard(actor: User, owner: str) -> None:
    """Raises NotFound for who is asked before the model is heard."""
    if owner in queries.withheld_from(actor, [owner]):
        raise NotFound(
            _("The model's answer is not shown before experts have judged the photograph."), reason="withheld"
        )


def _picture(content: bytes, content_type: str = CONTENT_TYPE) -> HttpResponse:
    # Nothing of it stays behind: not in the browser's cache, not in a proxy's.
    headers = {"Cache-Control": "no-store, private", "X-Content-Type-Options": "nosniff"}
    return HttpResponse(content, content_type=content_type, headers=headers)
