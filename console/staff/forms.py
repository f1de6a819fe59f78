"""The login form: name, password and the code of the second factor, asked at once; and that of a new password."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib.auth.signals import user_login_failed
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from unfold.forms import AdminOwnPasswordChangeForm, AuthenticationForm
from unfold.widgets import INPUT_CLASSES

from console.staff import services
from console.staff.models import User


class _CodeInput(forms.TextInput):
    """Of a form that was refused it is empty again: what was typed opens nothing any more."""

    def format_value(self, value: Any) -> None:
        return None


class SecondFactorLoginForm(AuthenticationForm):
    """Asks for the code beside the password, so that nothing tells a guesser which was wrong."""

    error_messages: ClassVar = {
        **AuthenticationForm.error_messages,
        "invalid_login": _(
            "Name, password or code is not right. Capital and small letters are different, and the code changes every "
            "30 seconds."
        ),
    }

    code = forms.CharField(
        label=_("Code of the second factor"),
        max_length=8,
        widget=_CodeInput(
            attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "class": " ".join(INPUT_CLASSES)}
        ),
    )

    def clean(self) -> dict[str, Any] | None:
        cleaned: dict[str, Any] | None = super().clean()
        user = self.get_user()
        if user is None or cleaned is None:
            return cleaned
        device = services.open_with_code(user, cleaned.get("code", ""))
        if device is None:
            # For the lockout and the audit trail a wrong code is what a wrong password is.
            name = {"username": user.get_username()}
            user_login_failed.send(sender=__name__, credentials=name, request=self.request)
            raise ValidationError(self.get_invalid_login_error(), code="second_factor")
        user.otp_device = device  # django_otp.login, which the login signal calls, writes it to the session
        return cleaned


class OwnPasswordForm(AdminOwnPasswordChangeForm):
    """A new password of one's own, which the audit trail hears of."""

    user: User

    def save(self, commit: bool = True) -> User:
        services.change_password(user=self.user, password=self.cleaned_data["new_password1"])
        return self.user
