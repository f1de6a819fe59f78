from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from console.torchserve.errors import BackendAway
from console.torchserve.management import BackendVersion, Loaded
from console.torchserve.reconcile import only_one, reconcile, run
from tests.unit.console.versions import TorchServeInMemory

FIRST, SECOND, THIRD = (BackendVersion("tiny", f"v{number}", f"{number}.mar") for number in (1, 2, 3))
KEYS = st.builds(BackendVersion, st.sampled_from("ab"), st.sampled_from("12"), st.sampled_from(["x.mar", "y.mar"]))


def one_file_each(keys: set[BackendVersion]) -> set[BackendVersion]:
    """A name and version mean one file, in TorchServe as in the database."""
    return set({(key.name, key.version): key for key in keys}.values())


@given(held=st.sets(KEYS).map(one_file_each), wanted=st.sets(KEYS).map(one_file_each))
def test_afterwards_torchserve_holds_exactly_what_it_should(
    held: set[BackendVersion], wanted: set[BackendVersion]
) -> None:
    backend = TorchServeInMemory(held)
    reconcile(backend, lambda: wanted)
    assert backend.holds() == wanted
    backend.calls.clear()
    outcome = reconcile(backend, lambda: wanted)
    assert backend.calls == []
    assert (outcome.registered, outcome.unregistered) == ((), ())


def test_the_new_comes_before_the_old_goes() -> None:
    backend = TorchServeInMemory([FIRST])
    reconcile(backend, lambda: {SECOND})
    assert backend.calls == [("register", SECOND), ("unregister", FIRST)]


def test_a_version_that_torchserve_refuses_does_not_stop_the_others() -> None:
    backend = TorchServeInMemory(refuses=[FIRST])
    outcome = reconcile(backend, lambda: {FIRST, SECOND, THIRD})
    assert backend.holds() == {SECOND, THIRD}
    assert outcome.refused == ((FIRST, "TorchServe: no"),)


def test_what_becomes_wanted_while_others_are_registered_stays() -> None:
    answers = iter([{SECOND}, {FIRST, SECOND}])
    backend = TorchServeInMemory([FIRST])
    reconcile(backend, lambda: next(answers))
    assert backend.holds() == {FIRST, SECOND}


def test_it_goes_on_when_torchserve_comes_back() -> None:
    class ComesBack(TorchServeInMemory):
        away = 3

        def loaded(self) -> list[Loaded]:
            self.away -= 1
            if self.away >= 0:
                raise BackendAway("starting")
            return super().loaded()

    backend = ComesBack()
    looks: list[float] = []

    def wait(seconds: float) -> bool:
        looks.append(seconds)
        return len(looks) == 5

    run(backend, lambda: {FIRST}, wait=wait, interval_s=0.5)
    assert backend.holds() == {FIRST}
    assert looks == [0.5] * 5


def test_a_second_reconciler_of_the_same_folder_is_not_the_only_one(tmp_path: Path) -> None:
    lock = tmp_path / "console" / "reconcile.lock"
    with only_one(lock) as first:
        with only_one(lock) as second:
            assert (first, second) == (True, False)
        assert first
    with only_one(lock) as again:
        assert again
