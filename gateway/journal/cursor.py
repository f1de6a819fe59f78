"""The shipper's place in the journal: the sequence of the first record that the console has not confirmed.

One line in the file `cursor`: the sequence in decimal and the CRC32C of its digits in hex,
`1042 9a3e11d0`. It is replaced in one step, and only after a receipt.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import google_crc32c

from gateway.journal.segment import write_durably

CURSOR_NAME: Final = "cursor"
FIRST_SEQUENCE: Final = 1


def read_cursor(folder: Path) -> int:
    """The cursor, or the first sequence of all when there is none or its checksum is wrong.

    A cursor that is lost only makes events travel twice, which the console expects. One that comes
    back does harm, so OSError is raised when there is one that cannot be read.
    """
    try:
        words = (folder / CURSOR_NAME).read_bytes().split()
        if len(words) == 2 and int(words[1], 16) == google_crc32c.value(words[0]):
            return max(int(words[0]), FIRST_SEQUENCE)
    except (FileNotFoundError, ValueError):
        pass
    return FIRST_SEQUENCE


def write_cursor(folder: Path, cursor: int) -> None:
    """Move the cursor durably. Raises OSError, and then the old one may still stand."""
    digits = str(cursor).encode()
    write_durably(folder / CURSOR_NAME, b"%s %08x\n" % (digits, google_crc32c.value(digits)))
