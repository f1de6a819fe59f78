"""Pages for clients and their keys."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from console.clients import queries, services
from console.clients.meanwhile import check_unchanged
from console.clients.models import ApiKey, Client
from console.errors import Outdated
from console.key_page import STANDING_COLOURS, key_page, standing, times
from console.pages import ExpiryForm, FewValuesFilter, ReadOnlyAdmin, RowsAdmin, ask, page, row_action
from console.row_page import Fact
from console.staff.rest import actor_of


class ClientForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs only
    models = forms.CharField(
        label=gettext_lazy("Models"),
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text=gettext_lazy("Names of the models that it may ask, comma separated; empty: all."),
    )

    # What the page showed: a change is meant for that, and for nothing that a colleague did meanwhile.
    seen = forms.IntegerField(required=False, widget=forms.HiddenInput)

    class Meta:
        model = Client
        fields = ("name", "calls_per_minute")

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.fields["models"].initial = ", ".join(self.instance.model_names)
        if self.instance.pk:
            self.fields["name"].disabled = True  # a name in the audit trail goes on meaning the same client
            self.fields["seen"].initial = queries.revision(self.instance)

    def clean(self) -> None:
        """Refused here and not by the service alone, so that what was typed stays in the form."""
        super().clean()
        seen = self.cleaned_data.get("seen")
        if not self.instance.pk or seen is None:
            return
        try:
            # The admin's transaction holds the client until it is saved.
            check_unchanged(services.hold(self.instance.pk), seen=seen)
        except Outdated as outdated:
            # What was changed is told now: sent again, the form is meant for it.
            self.data = {**dict(self.data.items()), "seen": queries.revision(self.instance)}
            again = _("What you typed still stands below: save it again if it is to replace that.")
            self.add_error(None, f"{outdated.message} {again}")

    def clean_models(self) -> list[str]:
        return [name.strip() for name in self.cleaned_data["models"].split(",") if name.strip()]


@admin.register(Client)
class ClientAdmin(RowsAdmin):
    form = ClientForm
    fields = ("name", "calls_per_minute", "models", "seen")
    list_display = ("name", "calls_per_minute", "model_list", "keys_in_force", "created_at")
    search_fields = ("name", "client_id")
    search_help_text = gettext_lazy("Part of a client's name or id")
    when_empty = gettext_lazy(
        "A client is a program that asks the gateway: an administrator adds it, and makes its keys."
    )
    ordering = ("name",)
    actions = None
    list_fullwidth = True
    actions_detail = ("new_key", "show_keys")

    def has_keys_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm("clients.change_client")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Client]:
        return queries.clients_with_key_counts()

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False  # its calls are in the audit trail: revoke its keys instead

    def save_model(self, request: HttpRequest, obj: Client, form: ClientForm, change: bool) -> None:
        given = {"calls_per_minute": obj.calls_per_minute, "models": form.cleaned_data["models"]}
        if change:
            seen = form.cleaned_data["seen"]
            services.change_client(actor=actor_of(request), client_id=obj.pk, seen=seen, **given)
        else:
            obj.pk = services.create_client(actor=actor_of(request), name=obj.name, **given).pk

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        """The audit trail has it."""

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        """The audit trail has it."""

    @display(description=gettext_lazy("Models"))
    def model_list(self, client: Client) -> str:
        return ", ".join(client.model_names) or _("all")

    @display(description=gettext_lazy("Keys in force"))
    def keys_in_force(self, client: Any) -> int:
        count: int = client.keys_in_force
        return count

    @row_action(description=gettext_lazy("New key"), icon="key", url_path="new-key", permissions=["keys"])
    def new_key(self, request: HttpRequest, object_id: int) -> HttpResponse:
        client = get_object_or_404(Client, pk=object_id)
        back = reverse("admin:clients_client_change", args=[object_id])

        def issue(given: dict[str, Any]) -> HttpResponse:
            issued = services.create_key(actor=actor_of(request), client_id=object_id, expires_at=given["expires_at"])
            title = _("A new key for {client}").format(client=client)
            return page(request, self, "console/secret.html", title=title, key=issued.text, back=back)

        return ask(
            request,
            self,
            title=_("A new key for {client}").format(client=client),
            consequence=_("The key is shown once, on the next page. The gateway accepts it within seconds."),
            button=_("Create the key"),
            back=back,
            form=ExpiryForm,
            act=issue,
        )

    @row_action(description=gettext_lazy("Keys"), icon="list", url_path="keys", permissions=["view"])
    def show_keys(self, request: HttpRequest, object_id: int) -> HttpResponse:
        client = get_object_or_404(Client, pk=object_id)
        return redirect(f"{reverse('admin:clients_apikey_changelist')}?{urlencode({'client__name': client.name})}")


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    list_display = ("name", "client", "state", "created_at", "created_by", "expires_at", "what")
    list_display_links = ("name",)
    list_select_related = ("client", "created_by")
    list_filter = (("client__name", FewValuesFilter),)
    list_filter_submit = True
    search_fields = ("key_id", "client__name")
    search_help_text = gettext_lazy("Part of a key, or of its client's name")
    ordering = ("-created_at",)
    when_empty = gettext_lazy("A key is made on the page of the client that is to have it.")
    actions_detail = ("revoke",)

    def has_keys_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm("clients.change_client")

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm("clients.view_client")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    @display(description=gettext_lazy("Key"))
    def name(self, key: ApiKey) -> str:
        return str(key)

    def row_page(self, request: HttpRequest, key: ApiKey) -> HttpResponse:
        client = key.client
        code, text = standing(revoked_at=key.revoked_at, expires_at=key.expires_at)
        may_revoke = key.revoked_at is None and self.has_keys_permission(request)
        return key_page(
            request,
            self,
            title=_("API key {key}").format(key=key),
            state=(code, text),
            said={
                "in force": _("Programs of {client} that show it are let in."),
                "expired": _("Its day has come: programs of {client} that show it are refused."),
                "revoked": _("Programs of {client} that show it are refused, for good."),
            }[code].format(client=client),
            facts=[
                Fact(_("Client"), client.name, reverse("admin:clients_client_change", args=[client.pk])),
                Fact(
                    _("Calls a minute at most"),
                    client.calls_per_minute,
                    note=_("For each key of this client."),
                ),
                Fact(_("Models that it may ask"), ", ".join(client.model_names) or _("all")),
                *times(
                    created_at=key.created_at,
                    created_by=_("by {name}").format(name=key.created_by),
                    expires_at=key.expires_at,
                    revoked_at=key.revoked_at,
                ),
                Fact(_("Last used"), _("not kept"), note=_("Predictions name the client that asked, not its key.")),
            ],
            entries=queries.told_of(key),
            revoke=reverse("admin:clients_apikey_revoke", args=[key.pk]) if may_revoke else "",
            back=reverse("admin:clients_apikey_changelist"),
        )

    @display(description=gettext_lazy("State"), label=STANDING_COLOURS)
    def state(self, key: ApiKey) -> tuple[str, str]:
        return standing(revoked_at=key.revoked_at, expires_at=key.expires_at)

    @display(description="")
    def what(self, key: ApiKey) -> str:
        if key.revoked_at is not None:
            return ""
        url = reverse("admin:clients_apikey_revoke", args=[key.pk])
        return format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', url, _("Revoke"))

    @row_action(description=gettext_lazy("Revoke"), url_path="revoke", permissions=["keys"])
    def revoke(self, request: HttpRequest, object_id: int) -> HttpResponse:
        key = get_object_or_404(ApiKey.objects.select_related("client"), pk=object_id)

        def act(given: dict[str, Any]) -> str:
            services.revoke_key(actor=actor_of(request), key_id=key.key_id)
            return _("{key} is revoked.").format(key=key)

        return ask(
            request,
            self,
            title=_("Revoke {key}").format(key=key),
            consequence=_("{client} can no longer call with it, from five seconds on, for good.").format(
                client=key.client
            ),
            button=_("Revoke"),
            back=reverse("admin:clients_apikey_changelist"),
            form=forms.Form,
            act=act,
            danger=True,
        )
