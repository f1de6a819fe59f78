"""People and their tokens."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils.crypto import salted_hmac
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _
from django_otp.plugins.otp_totp.models import TOTPDevice

from console.staff.scopes import everything


class User(AbstractUser):
    """A member of staff. What a person may do comes from roles, which are Django groups."""

    # Stands for the person in the audit chain, which must stay whole when a name is erased.
    pseudonym = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)

    # Counted up when what this person may do changes: sessions from before carry another hash, and end.
    sessions_round = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        verbose_name = _("member of staff")
        verbose_name_plural = _("staff")

    def get_session_auth_hash(self) -> str:
        """What a session must carry to be this person's: it changes with the password, and with each round."""
        value = f"{super().get_session_auth_hash()} {self.sessions_round}"
        return salted_hmac("console.staff.session", value, algorithm="sha256").hexdigest()


class ApiToken(models.Model):
    """A token with which a script acts as a member of staff. Only its digest is kept."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(_("name"), max_length=100, help_text=_("What this token is for."))
    key_id = models.CharField(max_length=12, unique=True, editable=False)
    digest = models.BinaryField(max_length=32, editable=False)
    scopes = models.JSONField(_("may be used for"), default=everything)  # values of `scopes.Scope`
    created_at = models.DateTimeField(_("created"), default=now, editable=False)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True, editable=False)
    # The token that asked for this one, if one did: whoever revokes that one ends this one too.
    made_with = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, editable=False, related_name="made")

    class Meta:
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")
        ordering: ClassVar = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} ({self.key_id})"


class SpentCode(models.Model):
    """A code that opened. The device itself knows the last one alone, and forgets that when the clock was set back."""

    device = models.ForeignKey(TOTPDevice, on_delete=models.CASCADE, related_name="+")
    step = models.BigIntegerField()  # which half minute it was the code of

    class Meta:
        default_permissions = ()
        constraints: ClassVar = [models.UniqueConstraint(fields=["device", "step"], name="a_code_opens_once")]

    def __str__(self) -> str:
        return f"{self.device_id} {self.step}"


class FailedSignIns(models.Model):
    """What `sign_ins` has not told the audit trail yet of one account."""

    account = models.CharField(max_length=36, primary_key=True)  # a person's pseudonym; empty: names that nobody has
    untold = models.PositiveIntegerField(default=0)  # failures that no entry has counted
    failed_told_at = models.DateTimeField(null=True)
    lockout_told_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.account or '-'}: {self.untold}"
