"""What forms of other apps ask about models."""

from __future__ import annotations

from django.utils.translation import gettext as _

from console.registry.queries import models_known


def models_to_choose() -> list[tuple[str, str]]:
    """Choices of a form's field; where no model is known, one that cannot be sent and says what comes first."""
    return [(name, name) for name in models_known()] or [("", _("There is none yet: upload a version first."))]
