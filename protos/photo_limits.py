"""What a photograph may be at most and must be at least: one standard for what is learnt from and what is answered.

The gateway refuses by it what callers send, and training what lies in a folder (decision 0255). The handler, which
travels alone in archives, has limits of its own behind these and never narrower ones.
"""

from __future__ import annotations

from typing import Final

BYTES_MAX: Final = 20 * 2**20  # of the file; a 48-megapixel phone JPEG has 12 to 18 MiB
PIXELS_MAX: Final = 8_192 * 6_144  # the full picture of a 50-megapixel phone; decoded to RGB that is 151 MB
SIDE_PX_MIN: Final = 32  # of either side: smaller than this no class could be told by anyone
