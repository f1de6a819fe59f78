"""Names in a folder of photographs that are no classes."""

from __future__ import annotations

from typing import Final

OUTSIDE_FOLDER: Final = "ood"  # photographs of other things, a set per folder inside
HIDDEN: Final = (".", "__")  # what the names of folders and files begin with that are passed over
