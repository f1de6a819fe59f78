"""Pages for staff: who works here, in which role, with which tokens."""

from __future__ import annotations

from typing import Any

import qrcode
from django import forms
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import mark_safe
from django.utils.text import format_lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django_otp.plugins.otp_totp.models import TOTPDevice
from qrcode.image.svg import SvgPathImage
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from console.key_page import STANDING_COLOURS, key_page, standing, times
from console.pages import ExpiryForm, FewValuesFilter, ReadOnlyAdmin, SeenForm, ask, is_number, page, row_action
from console.row_page import Fact
from console.staff import queries, services
from console.staff.models import ApiToken, User
from console.staff.rest import actor_of
from console.staff.scopes import Scope

# Roles are a table in the code, and second factors are nobody's to read.
admin.site.unregister([Group, TOTPDevice])


def _roles() -> list[tuple[str, str]]:
    """Every role with its name in the reader's language, which stands in `console.site.roles`."""
    return [(name, _(name)) for name in Group.objects.order_by("name").values_list("name", flat=True)]


class RoleForm(forms.Form):
    role = forms.ChoiceField(label=gettext_lazy("Role"), choices=_roles, widget=UnfoldAdminSelectWidget)


def _roles_to_choose() -> list[tuple[str, str]]:
    return [("", _("choose")), *_roles()]  # the first one by name is the administrator


class AnotherRoleForm(RoleForm):
    # The role that the page showed: what begins ends that one, and not one that a colleague gave meanwhile.
    seen = forms.CharField(required=False, widget=forms.HiddenInput)


class NewStaffForm(RoleForm):
    role = forms.ChoiceField(label=gettext_lazy("Role"), choices=_roles_to_choose, widget=UnfoldAdminSelectWidget)
    name = forms.CharField(label=gettext_lazy("Name"), max_length=150, widget=UnfoldAdminTextInputWidget)
    field_order = ("name", "role")


class TokenForm(ExpiryForm):
    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=100,
        widget=UnfoldAdminTextInputWidget,
        help_text=gettext_lazy("What this token is for."),
    )
    scopes = forms.MultipleChoiceField(
        label=gettext_lazy("May be used for"),
        choices=[(scope.value, format_lazy("{} — {}", scope.value, scope.label)) for scope in Scope],
        initial=[Scope.READ.value],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=gettext_lazy("Never more than you may do yourself. Choose as little as the script needs."),
    )
    field_order = ("name", "scopes", "expires_at")


class RevocationForm(forms.Form):
    keep_made = forms.BooleanField(
        label=gettext_lazy("Leave what was made with it"),
        required=False,
        widget=UnfoldBooleanWidget,
        help_text=gettext_lazy("Only where it made the token that follows it, and nobody else has had it."),
    )


@admin.register(User)
class UserAdmin(ReadOnlyAdmin):
    list_display = ("username", "roles", "state", "last_login", "date_joined", "what")
    list_display_links = None
    search_fields = ("username", "first_name", "last_name")
    search_help_text = gettext_lazy("Part of a name")
    ordering = ("username",)
    actions_list = ("add_staff",)
    actions_detail = ("change_role", "disable", "enable", "end_sessions", "reset_access")

    def has_hiring_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm("staff.add_user")

    def has_access_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm("staff.change_user")

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return queries.staff()

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return redirect(reverse("admin:staff_user_changelist"))

    @display(description=gettext_lazy("Role"))
    def roles(self, user: User) -> str:
        return ", ".join(_(group.name) for group in user.groups.all())

    @display(description=gettext_lazy("State"), label={True: "success", False: "danger"})
    def state(self, user: User) -> tuple[bool, str]:
        return user.is_active, _("active") if user.is_active else _("disabled")

    @display(description="")
    def what(self, user: User) -> str:
        wanted = [
            ("change_role", _("Role")),
            ("disable", _("Disable")) if user.is_active else ("enable", _("Enable")),
            ("end_sessions", _("End sessions")),
            ("reset_access", _("Reset access")),
        ]
        links = [_link(f"admin:staff_user_{name}", user.pk, text) for name, text in wanted]
        return mark_safe(" · ".join(links))  # noqa: S308 - each was made by format_html

    @action(
        description=gettext_lazy("Add a member of staff"),
        icon="person_add",
        url_path="add-staff",
        permissions=["hiring"],
    )
    def add_staff(self, request: HttpRequest) -> HttpResponse:
        def act(given: dict[str, Any]) -> HttpResponse:
            made = services.create_user(name=given["name"], role=given["role"], actor=actor_of(request))
            return self._access(request, made)

        return ask(
            request,
            self,
            title=_("Add a member of staff"),
            consequence=_("The next page shows a first password and the second factor, once."),
            button=_("Add"),
            back=reverse("admin:staff_user_changelist"),
            form=NewStaffForm,
            act=act,
        )

    @row_action(description=gettext_lazy("Role"), url_path="role", permissions=["access"])
    def change_role(self, request: HttpRequest, object_id: int) -> HttpResponse:
        user = get_object_or_404(User, pk=object_id)

        def act(given: dict[str, Any]) -> str:
            services.set_role(
                actor=actor_of(request), user_id=object_id, role=given["role"], seen=given["seen"] or None
            )
            return _("{user} has another role.").format(user=user)

        return ask(
            request,
            self,
            title=_("Role of {user}").format(user=user),
            consequence=_("Every session and token of {user} ends; {user} comes in again with the new role.").format(
                user=user
            ),
            button=_("Change"),
            back=reverse("admin:staff_user_changelist"),
            form=AnotherRoleForm,
            initial={"role": user.groups.first()},
            seen=queries.role_of(user),
            act=act,
        )

    @row_action(description=gettext_lazy("Disable"), permissions=["access"], variant=ActionVariant.DANGER)
    def disable(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return self._set_active(request, object_id, active=False)

    @row_action(description=gettext_lazy("Enable"), permissions=["access"])
    def enable(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return self._set_active(request, object_id, active=True)

    @row_action(description=gettext_lazy("End sessions"), url_path="end-sessions", permissions=["access"])
    def end_sessions(self, request: HttpRequest, object_id: int) -> HttpResponse:
        user = get_object_or_404(User, pk=object_id)

        def act(given: dict[str, Any]) -> str:
            services.end_sessions(actor=actor_of(request), user_id=object_id)
            return _("{user} is signed out everywhere.").format(user=user)

        return ask(
            request,
            self,
            title=_("End the sessions of {user}").format(user=user),
            consequence=_(
                "Every session of {user} ends, on every device; password, second factor and tokens stay."
            ).format(user=user),
            button=_("End sessions"),
            back=reverse("admin:staff_user_changelist"),
            form=forms.Form,
            act=act,
        )

    @row_action(description=gettext_lazy("Reset access"), url_path="reset-access", permissions=["access"])
    def reset_access(self, request: HttpRequest, object_id: int) -> HttpResponse:
        user = get_object_or_404(User, pk=object_id)
        reset = queries.access_reset(user)

        def act(given: dict[str, Any]) -> HttpResponse:
            seen = int(given["seen"]) if is_number(given["seen"]) else None
            return self._access(request, services.reset_access(actor=actor_of(request), user_id=object_id, seen=seen))

        return ask(
            request,
            self,
            title=_("Reset the access of {user}").format(user=user),
            consequence=_(
                "Password, second factor, sessions and tokens end. The next page shows new ones, once. "
                "Make sure that it is {user} who asks."
            ).format(user=user),
            button=_("Reset"),
            back=reverse("admin:staff_user_changelist"),
            form=SeenForm,
            danger=True,
            seen=str(0 if reset is None else reset.sequence),
            act=act,
        )

    def _set_active(self, request: HttpRequest, object_id: int, *, active: bool) -> HttpResponse:
        user = get_object_or_404(User, pk=object_id)

        def act(given: dict[str, Any]) -> str:
            services.set_active(actor=actor_of(request), user_id=object_id, active=active)
            return (_("{user} may come in again.") if active else _("{user} is out.")).format(user=user)

        return ask(
            request,
            self,
            title=(_("Enable {user}") if active else _("Disable {user}")).format(user=user),
            consequence=_("Password, second factor and tokens are valid again.")
            if active
            else _("Every session and token ends at once. What {user} did stays in the audit trail.").format(user=user),
            button=_("Enable") if active else _("Disable"),
            back=reverse("admin:staff_user_changelist"),
            form=forms.Form,
            danger=not active,
            act=act,
        )

    def _access(self, request: HttpRequest, made: services.NewStaff) -> HttpResponse:
        return page(
            request,
            self,
            "staff/access.html",
            title=_("The access of {user}").format(user=made.user),
            made=made,
            picture=_qr_code(made.otpauth_url),
            back=reverse("admin:staff_user_changelist"),
        )


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    """One's own tokens; those of everybody for who may see them."""

    list_display = (
        "name", "known_by", "whose", "state", "scope_names", "maker", "created_at", "expires_at", "revoked_at", "what",
    )  # fmt: skip
    list_display_links = ("name",)
    list_select_related = ("user", "made_with")
    list_filter = (("user__username", FewValuesFilter),)
    search_fields = ("name", "key_id", "user__username")
    search_help_text = gettext_lazy("Part of a token's name, of what it is known by, or of its owner's name")
    ordering = ("-created_at",)
    when_empty = gettext_lazy("Make one for each script that calls the management interface.")
    actions_list = ("new_token",)
    actions_detail = ("revoke",)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return bool(request.user.is_active)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        return queries.tokens_shown_to(actor_of(request))

    def row_page(self, request: HttpRequest, token: ApiToken) -> HttpResponse:
        code, text = self.state(token)
        return key_page(
            request,
            self,
            title=_("Token {name}").format(name=token.name),
            state=(code, text),
            said={
                "in force": _("Scripts that show it act as {user}, within what it may be used for."),
                "stopped": _("{user} is disabled: scripts that show it are refused until {user} may come in again."),
                "expired": _("Its day has come: scripts that show it are refused."),
                "revoked": _("Scripts that show it are refused, for good."),
            }[code].format(user=token.user),
            facts=[
                Fact(_("Known by"), f"amt_{token.key_id}_…"),
                Fact(_("Of"), str(token.user), note=", ".join(_(group.name) for group in token.user.groups.all())),
                Fact(
                    _("May be used for"),
                    self.scope_names(token),
                    note=_("Never for more than its person may do."),
                ),
                *([self._fact_of(_("Made with"), token.made_with)] if token.made_with else []),
                *(self._fact_of(_("Made with it"), each) for each in queries.made_with(token)),
                *times(
                    created_at=token.created_at, created_by="", expires_at=token.expires_at, revoked_at=token.revoked_at
                ),
                Fact(_("Last used"), _("not kept"), note=_("The audit trail names the person, not the token.")),
            ],
            entries=queries.told_of(token),
            revoke=reverse("admin:staff_apitoken_revoke", args=[token.pk]) if token.revoked_at is None else "",
            back=reverse("admin:staff_apitoken_changelist"),
        )

    @staticmethod
    def _fact_of(name: str, token: ApiToken) -> Fact:
        return Fact(name, str(token), reverse("admin:staff_apitoken_change", args=[token.pk]))

    @display(description=gettext_lazy("State"), label=STANDING_COLOURS)
    def state(self, token: ApiToken) -> tuple[str, str]:
        code, text = standing(revoked_at=token.revoked_at, expires_at=token.expires_at)
        return ("stopped", _("stopped")) if code == "in force" and not token.user.is_active else (code, text)

    @display(description=gettext_lazy("Known by"))
    def known_by(self, token: ApiToken) -> str:
        return token.key_id

    @display(description=gettext_lazy("May be used for"))
    def scope_names(self, token: ApiToken) -> str:
        return ", ".join(str(Scope(scope).label) for scope in token.scopes)

    @display(description=gettext_lazy("Made with"))
    def maker(self, token: ApiToken) -> str:
        return "–" if token.made_with is None else str(token.made_with)

    @display(description=gettext_lazy("Of"))
    def whose(self, token: ApiToken) -> str:
        return str(token.user)

    @display(description="")
    def what(self, token: ApiToken) -> str:
        return "" if token.revoked_at is not None else _link("admin:staff_apitoken_revoke", token.pk, _("Revoke"))

    @action(description=gettext_lazy("New token"), icon="key", url_path="new-token")
    def new_token(self, request: HttpRequest) -> HttpResponse:
        back = reverse("admin:staff_apitoken_changelist")

        def act(given: dict[str, Any]) -> HttpResponse:
            person = actor_of(request)
            made = services.create_token(
                user=person,
                name=given["name"],
                actor=person,
                scopes=given["scopes"],
                expires_at=given["expires_at"],
            )
            return page(request, self, "console/secret.html", title=_("A new token"), key=made.text, back=back)

        return ask(
            request,
            self,
            title=_("A new token"),
            consequence=_(
                "A script that shows it acts as you, within what you choose. It is shown once, on the next page."
            ),
            button=_("Create the token"),
            back=back,
            form=TokenForm,
            act=act,
        )

    @row_action(description=gettext_lazy("Revoke"))
    def revoke(self, request: HttpRequest, object_id: int) -> HttpResponse:
        token = self.get_queryset(request).filter(pk=object_id).first()
        if token is None:
            raise Http404

        made = queries.made_with(token)

        def act(given: dict[str, Any]) -> str:
            done = services.revoke_token(
                key_id=token.key_id, actor=actor_of(request), keep_made=given.get("keep_made", False)
            )
            told = _("{token} is revoked.").format(token=token)
            return f"{told} {_('With it: {names}.').format(names=', '.join(done.also))}" if done.also else told

        consequence = _("Scripts that use it are refused from the next call on.")
        if made:
            names = ", ".join(map(str, made))
            consequence += " " + _("So are those that use what was made with it: {names}.").format(names=names)
        return ask(
            request,
            self,
            title=_("Revoke {token}").format(token=token),
            consequence=consequence,
            button=_("Revoke"),
            back=reverse("admin:staff_apitoken_changelist"),
            form=RevocationForm if made else forms.Form,
            danger=True,
            act=act,
        )


def _link(name: str, key: int, text: str) -> str:
    return format_html(
        '<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', reverse(name, args=[key]), text
    )


def _qr_code(text: str) -> str:
    """An inline SVG that an authenticator app reads."""
    picture = qrcode.make(text, image_factory=SvgPathImage, box_size=7, border=2)
    drawing: str = picture.to_string(encoding="unicode")
    return mark_safe(drawing)  # noqa: S308 - drawn by us; the text becomes squares
