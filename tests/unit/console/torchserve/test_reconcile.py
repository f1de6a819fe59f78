from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from console.torchserve.errors import BackendAway
from console.torchserve.management import BackendVersion, Loaded
from console.torchserve.reconcile import Patience, only_one, reconcile, run
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


def test_a_version_without_a_ready_worker_is_registered_anew_when_patience_is_over() -> None:
    clock = iter([0.0, 20.0, 40.0, 41.0, 81.5])
    patience, backend = Patience(limit_s=40.0, now=lambda: next(clock)), TorchServeInMemory([FIRST, SECOND])
    backend.workers_ready = 0
    renewed = [reconcile(backend, lambda: {FIRST, SECOND}, patience).renewed for _ in range(5)]
    assert renewed == [(), (), (), (FIRST, SECOND), ()]
    assert backend.calls == [("unregister", FIRST), ("register", FIRST), ("unregister", SECOND), ("register", SECOND)]


def test_a_worker_that_was_ready_in_between_starts_the_count_anew() -> None:
    clock, workers = iter([0.0, 30.0, 60.0, 90.0]), iter([0, 1, 0, 0])
    patience, backend = Patience(limit_s=40.0, now=lambda: next(clock)), TorchServeInMemory([FIRST])
    for _ in range(4):
        backend.workers_ready = next(workers)
        assert reconcile(backend, lambda: {FIRST}, patience).renewed == ()


def test_a_version_that_nobody_wants_is_not_registered_anew() -> None:
    clock = iter([0.0, 50.0])
    patience, backend = Patience(limit_s=40.0, now=lambda: next(clock)), TorchServeInMemory([FIRST])
    backend.workers_ready = 0
    reconcile(backend, lambda: {FIRST}, patience)
    assert reconcile(backend, lambda: set(), patience).renewed == ()
    assert backend.holds() == set()


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
