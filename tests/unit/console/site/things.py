"""Things that belong to a person, made for them: what tests of own and foreign try on addresses and on pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import Permission
from django.utils.timezone import now

from console.registry.models import Upload
from console.review import services as review
from console.review.models import Decided, ExpertDecision, GoldAnswer, GoldItem, ReviewItem, State
from console.review.services import HOLD, NOT_YET, Decision
from console.sheets.models import Kind, Sheet, SheetAnswer, SheetItem
from console.staff.models import ApiToken, User
from console.staff.services import create_token
from tests.unit.console import shop


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that belongs to a person."""

    key: object  # that names it in an address
    state: Callable[[], Any]  # what nobody but its owner may change


def at(route: str, key: object) -> str:
    """The address of a thing, whatever a route calls its key."""
    return re.sub(r"<\w+:\w+>", str(key), route)


def upload_of(person: User) -> Thing:
    made = Upload.objects.create(filename="a.mar", size_bytes=9, sha256="0" * 64, created_by=person)
    return Thing(made.pk, lambda: list(Upload.objects.values_list("pk", "offset_bytes")))


def token_of(person: User) -> Thing:
    """By the id that scripts know it by."""
    token = create_token(user=person, name="nightly", actor=person).token
    return Thing(token.key_id, lambda: ApiToken.objects.values_list("revoked_at").get(pk=token.pk))


def token_row_of(person: User) -> Thing:
    """By its number, as pages name it."""
    thing = token_of(person)
    return Thing(ApiToken.objects.get(key_id=thing.key).pk, thing.state)


def access_of(person: User) -> Thing:
    rows = User.objects.values_list("is_active", "sessions_round", "password", "groups")
    return Thing(person.pk, lambda: rows.get(pk=person.pk))


def no_access_of(person: User) -> Thing:
    User.objects.filter(pk=person.pk).update(is_active=False)
    return access_of(person)


def held_by(person: User) -> Thing:
    item = shop.queued()
    rows = ReviewItem.objects.filter(pk=item.pk)
    rows.update(held_by=person, held_since=now(), held_until=now() + HOLD)
    return Thing(item.pk, lambda: rows.values_list("held_by", "state", "rounds").get())


def decided_by(person: User) -> Thing:
    item = shop.queued()
    lent = Permission.objects.get(codename="decide_reviewitem")
    person.user_permissions.add(lent)  # they decided it before they had the role that they have now
    expert = User.objects.get(pk=person.pk)
    review.take(actor=expert, item_id=item.pk)
    review.decide(actor=expert, item_id=item.pk, decision=Decision(Decided.UNSURE))
    person.user_permissions.remove(lent)
    return Thing(item.pk, lambda: list(ExpertDecision.objects.values_list("pk", "expert")))


def asked_of(person: User) -> Thing:
    """A photograph whose answer is known, and about which this person alone is asked."""
    item = shop.queued()
    ReviewItem.objects.filter(pk=item.pk).update(state=State.DECIDED)
    gold = GoldItem.objects.create(item=item, decided=Decided.NOT_OUR_KIND, made_by=person)
    GoldAnswer.objects.create(gold=gold, expert=person, open_until=NOT_YET)
    return Thing(item.pk, lambda: list(GoldAnswer.objects.values_list("pk", "expert", "decided")))


def judged_by(person: User) -> Thing:
    sheet = Sheet.objects.create(kind=Kind.SYNTHETIC, sha256=str(person.pk).zfill(64), size=2, imported_by=person)
    items = [
        SheetItem.objects.create(sheet=sheet, number=number, name="", photo=b"", predicted="a") for number in (1, 2)
    ]
    SheetAnswer.objects.create(item=items[0], expert=person, verdict="unsure", problems=[], note="")
    return Thing(sheet.pk, lambda: list(SheetAnswer.objects.values_list("pk", "expert")))
