"""What is known about clients."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Count, Prefetch, Q, QuerySet
from django.utils.timezone import now

from console.audit.models import Entry
from console.audit.queries import entries_about
from console.clients.models import ApiKey, Client


def clients_with_keys() -> QuerySet[Client]:
    """Every client by name with its keys, in two queries whatever their number."""
    return Client.objects.order_by("name").prefetch_related(Prefetch("keys", ApiKey.objects.order_by("key_id")))


def clients_with_key_counts() -> QuerySet[Client]:
    """Clients with `keys_in_force`, in one query."""
    in_force = Q(keys__revoked_at=None) & (Q(keys__expires_at=None) | Q(keys__expires_at__gt=now()))
    return Client.objects.annotate(keys_in_force=Count("keys", filter=in_force)).order_by("name")


def few_clients(*, most: int) -> list[tuple[UUID, str]] | None:
    """Id and name of every client, by name; None where there are more than can be chosen from. One query."""
    found = list(Client.objects.order_by("name").values_list("client_id", "name")[: most + 1])
    return found if len(found) <= most else None


def names_with(part: str, *, most: int) -> list[str]:
    """Names that have this in them, in capitals or not, in order; at most so many. One query."""
    if "\x00" in part:
        return []  # PostgreSQL reads no such text
    return list(Client.objects.filter(name__icontains=part).order_by("name").values_list("name", flat=True)[:most])


def keys() -> QuerySet[ApiKey]:
    """Keys of all clients, newest first; joins whose they are and who made them."""
    return ApiKey.objects.select_related("client", "created_by").order_by("-created_at", "-pk")


def told_of(key: ApiKey) -> QuerySet[Entry]:
    """What the audit trail says of a key, oldest first: its entries are about the client. Joins what they say."""
    return entries_about("client", str(key.client.client_id)).filter(payload__text__contains=key.key_id)


def revision(client: Client) -> int:
    """A number that each change of a client, and of its keys, raises: that of the trail's newest entry about it."""
    entries = entries_about("client", str(client.client_id)).order_by("-sequence")
    return entries.values_list("sequence", flat=True).first() or 0


def changes_since(client: Client, seen: int) -> QuerySet[Entry]:
    """What was done with a client and its keys after the revision that somebody saw, oldest first."""
    return entries_about("client", str(client.client_id)).filter(sequence__gt=seen)


def fingerprint() -> tuple[object, ...]:
    """All that the gateway must hear of clients and can change, in two small queries."""
    clients = Client.objects.order_by("pk").values_list("pk", "name", "calls_per_minute", "model_names")
    keys = ApiKey.objects.order_by("pk").values_list("pk", "revoked_at", "expires_at")
    return tuple(clients), tuple(keys)
