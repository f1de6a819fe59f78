"""From what a request names to the version that answers it."""

from __future__ import annotations

import pytest

from gateway import errors
from gateway.routing.router import destination, model_for
from gateway.snapshot import Client, ServedModel, ServedVersion, Snapshot
from protos.amulet.policy.v1 import policy_pb2
from tests.unit.gateway.cast import policy, served_model, served_version

ANYONE = Client("anyone", 100, frozenset())
OLD, NEW, WATCHING = "v20260101_tiny_1.000", "v20260102_tiny_1.000", "v20260103_tiny_1.000"


def snapshot(*names: str) -> Snapshot:
    return Snapshot.parse(policy(models=[served_model(name=name) for name in names]).SerializeToString())


def model(**weights: float) -> ServedModel:
    """Three versions; weight 0: listed without a route, -1: a shadow."""
    named = {"old": OLD, "new": NEW, "watching": WATCHING}
    served = policy_pb2.ServedModel(
        name="tiny",
        versions=[served_version(version) for version in named.values()],
        routes=[
            policy_pb2.Route(version=named[name], weight_ratio=max(weight, 0), shadow=weight < 0)
            for name, weight in weights.items()
            if weight
        ],
    )
    return Snapshot.parse(policy(models=[served]).SerializeToString()).models["tiny"]


def ready(_: ServedVersion) -> None:
    return None


def test_the_only_model_need_not_be_named() -> None:
    assert model_for(snapshot("tiny"), ANYONE, "").name == "tiny"


def test_of_several_models_one_must_be_named() -> None:
    with pytest.raises(errors.FieldInvalid, match="several") as refused:
        model_for(snapshot("b", "a"), ANYONE, "")

    assert (refused.value.field, refused.value.wanted) == ("model", "name one of a, b")


def test_where_a_key_may_use_no_model_there_is_none_to_be_meant() -> None:
    with pytest.raises(errors.ModelNotFound, match="no model that this key may use"):
        model_for(snapshot("a", "b"), Client("c", 100, frozenset({"z"})), "")


def test_a_name_that_is_told_back_is_looked_at_first() -> None:
    with pytest.raises(errors.FieldInvalid) as refused:
        model_for(snapshot("tiny"), ANYONE, "m" * 9_000)

    assert refused.value.field == "model"


def test_the_only_model_that_a_key_may_use_need_not_be_named() -> None:
    assert model_for(snapshot("a", "b"), Client("c", 100, frozenset({"b"})), "").name == "b"


def test_of_several_models_the_one_that_is_named_is_meant() -> None:
    assert model_for(snapshot("a", "b"), ANYONE, "b").name == "b"


@pytest.mark.parametrize("name", ["a", "nonesuch"])
def test_a_model_outside_the_keys_list_is_refused_whether_it_exists_or_not(name: str) -> None:
    with pytest.raises(errors.ModelNotPermitted):
        model_for(snapshot("a", "b"), Client("c", 100, frozenset({"b"})), name)


def test_a_model_that_is_not_there_is_not_found() -> None:
    with pytest.raises(errors.ModelNotFound):
        model_for(snapshot("tiny"), ANYONE, "nonesuch")


def test_a_named_version_needs_no_route() -> None:
    found = destination(model(old=1, watching=-1), version=NEW, sticky_key="s", why_not_ready=ready)

    assert (found.version.version, found.shadows, found.drawn) == (NEW, (), False)


def test_a_version_that_is_not_there_is_not_found() -> None:
    with pytest.raises(errors.VersionNotFound):
        destination(model(old=1), version="v9", sticky_key="s", why_not_ready=ready)


def test_a_version_that_is_not_ready_leaves_its_share_to_the_others() -> None:
    table = model(old=0.5, new=0.5)

    found = {
        destination(
            table,
            version="",
            sticky_key=f"s{n}",
            why_not_ready=lambda served: "dead" if served.version == NEW else None,
        ).version.version
        for n in range(50)
    }

    assert found == {OLD}


def test_a_version_that_is_to_be_asked_rather_needs_no_route_and_is_watched_all_the_same() -> None:
    found = destination(
        model(old=1, watching=-1), version="", sticky_key="s", why_not_ready=ready, rather=["v9", NEW, OLD]
    )

    assert (found.version.version, found.drawn) == (NEW, False)
    assert [shadow.version for shadow in found.shadows] == [WATCHING]


@pytest.mark.parametrize("rather", ["v9", NEW])
def test_when_the_version_to_be_asked_rather_is_gone_or_not_ready_the_weights_choose(rather: str) -> None:
    found = destination(
        model(old=1),
        version="",
        sticky_key="s",
        why_not_ready=lambda served: "dead" if served.version == NEW else None,
        rather=[rather],
    )

    assert (found.version.version, found.drawn) == (OLD, True)


def test_callers_are_divided_by_who_they_are_and_each_stays_where_it_was() -> None:
    table = model(old=0.5, new=0.5)

    def drawn(caller: str) -> str:
        return destination(table, version="", sticky_key=caller, why_not_ready=ready).version.version

    callers = [f"s{number}" for number in range(50)]
    assert {drawn(caller) for caller in callers} == {OLD, NEW}
    assert [drawn(caller) for caller in callers] == [drawn(caller) for caller in callers]


def test_a_version_does_not_watch_itself() -> None:
    found = destination(model(old=1, watching=-1), version="", sticky_key="s", why_not_ready=ready, rather=[WATCHING])

    assert (found.version.version, found.shadows) == (WATCHING, ())


def test_a_version_to_be_asked_rather_that_has_a_route_counts_as_drawn() -> None:
    found = destination(model(old=0.01, new=0.99), version="", sticky_key="s", why_not_ready=ready, rather=[OLD])

    assert (found.version.version, found.drawn) == (OLD, True)


@pytest.mark.parametrize("version", ["", OLD])
def test_when_nothing_is_ready_the_refusal_says_why(version: str) -> None:
    with pytest.raises(errors.ModelNotReady, match="its worker died"):
        destination(model(old=1), version=version, sticky_key="s", why_not_ready=lambda *_: "its worker died")


def test_a_model_without_a_route_is_not_in_production() -> None:
    with pytest.raises(errors.ModelNotReady, match="production"):
        destination(model(), version="", sticky_key="s", why_not_ready=ready)


def test_shadows_that_are_ready_watch() -> None:
    found = destination(model(old=1, watching=-1), version="", sticky_key="s", why_not_ready=ready)

    assert [shadow.version for shadow in found.shadows] == [WATCHING]


def test_shadows_that_are_not_ready_do_not() -> None:
    found = destination(
        model(old=1, watching=-1),
        version="",
        sticky_key="s",
        why_not_ready=lambda served: "no" if served.version == WATCHING else None,
    )

    assert found.shadows == ()
