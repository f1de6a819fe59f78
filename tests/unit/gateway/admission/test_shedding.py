"""Load shedding: a full house refuses at once."""

from __future__ import annotations

import pytest

from gateway import errors
from gateway.admission.shedding import Shedder


def test_the_call_after_the_last_place_is_refused_until_a_place_is_free() -> None:
    shedder = Shedder(2)
    with shedder.place():
        with shedder.place(), pytest.raises(errors.Overloaded) as refused, shedder.place():
            pass
        with shedder.place():
            assert shedder.in_flight == 2

    assert shedder.in_flight == 0
    assert refused.value.retry_after_s


def test_a_call_that_fails_gives_its_place_back() -> None:
    shedder = Shedder(1)
    with pytest.raises(ValueError), shedder.place():
        raise ValueError

    assert shedder.in_flight == 0
