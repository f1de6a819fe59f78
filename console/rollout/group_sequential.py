"""A comparison of two shares that is looked at LOOKS times, at planned sizes, with one rate of false alarms for all.

The borders are O'Brien & Fleming's ("A multiple testing procedure for clinical trials", Biometrics
1979): high at first, so that an early end needs much, and nearly those of a single look at the end.
So the largest size is INFLATION times that of a test with one look (Jennison & Turnbull, "Group
Sequential Methods with Applications to Clinical Trials", 2000, section 2.5), where evidence that may
be looked at for ever (`sequential`) would take about five times as many answers.

Statistics are normal approximations with one good and one bad answer added to each side (Agresti &
Caffo, American Statistician 2000), which keeps the rate where shares are near 0 or 1.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

from console.rollout.sequential import Count

LOOKS: Final = 5
ALPHA: Final = 0.05  # one-sided, over all looks together
POWER: Final = 0.8
# For these LOOKS, ALPHA and POWER, by numerical integration; a test makes sure of both by simulation.
_FINAL_BORDER: Final = 1.7509
INFLATION: Final = 1.040


def border(look: int) -> float:
    """What the standardised difference must reach at a look, 1 to LOOKS."""
    return _FINAL_BORDER * math.sqrt(LOOKS / look)


def difference(watched: Count, standard: Count, beyond: float) -> float:
    """The standardised difference of two shares less `beyond`: positive where the watched one is larger still."""
    one, other = (_added(count) for count in (watched, standard))
    error = math.sqrt(sum(share * (1 - share) / n for share, n in (one, other)))
    return (one[0] - other[0] - beyond) / error


def size(*, baseline: float, effect: float, others: float) -> int:
    """How many answers of the watched side make an improvement by `effect` be found with POWER at the last look.

    baseline: the standard's share, 0 to 1.  others: answers of the standard for each watched one.
    """
    normal = NormalDist()
    reach = normal.inv_cdf(1 - ALPHA) + normal.inv_cdf(POWER)
    wanted = baseline + effect
    spread = wanted * (1 - wanted) + baseline * (1 - baseline) / others
    return math.ceil(INFLATION * reach**2 * spread / effect**2)


def look_due(n: int, planned: int) -> int:
    """The last look whose planned size is reached, 0 to LOOKS."""
    return min(LOOKS, n * LOOKS // planned)


def _added(count: Count) -> tuple[float, int]:
    n = count.n + 2
    return (count.yes + 1) / n, n
