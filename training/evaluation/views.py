"""Several photographs of one object answered as one: what a caller gains who sends front and back together.

Measured where the names of the photographs say which show one object (`training.data.folder`), and fused as the
gateway fuses views of one weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.statistics.intervals import Interval, bootstrap, of_difference, share_of

_PROBABILITY_MIN: Final = 1e-9  # the gateway's


@dataclass(frozen=True, slots=True)
class MultiView:
    """Objects of which there are several photographs; shares of them, each object counting the same."""

    objects: int
    photos: int
    single: Interval  # of an object's photographs, each answered alone, those answered rightly; mean over objects
    fused: Interval  # of the objects, those answered rightly with all their photographs together
    gain: Interval  # fused - single, on the same objects

    def document(self) -> dict[str, Any]:
        """As JSON can carry it."""
        figures = {"single": self.single, "fused": self.fused, "gain": self.gain}
        return {
            "objects": self.objects,
            "photos": self.photos,
            **{name: interval.value for name, interval in figures.items()},
            "intervals": {name: interval.pair() for name, interval in figures.items()},
        }


def fused(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """[views, classes], two views and more -> [classes]: the mean of logarithms, normalised."""
    logarithms = np.log(np.clip(np.asarray(probabilities, np.float64), _PROBABILITY_MIN, None)).mean(axis=0)
    shares = np.exp(logarithms - logarithms.max())
    return np.asarray(shares / shares.sum())


def multi_view(
    objects: Sequence[str], probabilities: NDArray[np.floating], labels: NDArray[np.integer], *, seed: int
) -> MultiView | None:
    """None where no object has several photographs.

    objects: of each photograph [n], empty where nobody says.  probabilities [n, classes], calibrated.  labels [n].
    """
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(objects):
        if name:
            rows_of.setdefault(name, []).append(row)
    several = [np.array(rows) for rows in rows_of.values() if len(rows) > 1]
    if not several:
        return None
    right = probabilities.argmax(axis=1) == labels
    alone = np.array([right[rows].mean() for rows in several])
    together = np.array([fused(probabilities[rows]).argmax() == labels[rows[0]] for rows in several], np.float64)
    single, both = (share_of(float(shares.sum()), len(several)) for shares in (alone, together))
    gain = bootstrap(
        lambda r: float((together - alone)[r].mean()), [np.array([labels[rows[0]] for rows in several])], seed=seed
    )
    gain = of_difference(gain, len(several))
    return MultiView(len(several), sum(map(len, several)), single, both, gain)
