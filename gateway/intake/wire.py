"""What the gateway and a decoder process say to each other: length-framed structs over pipes.

No pickle: a decoder that a hostile photograph has taken over can answer with wrong pixels
and nothing worse. Little-endian throughout. A decoder writes one READY byte when it has
imported everything, then answers jobs one at a time. A payload of at most SHARED_BYTES lies
at the beginning of the memory that the two share, and only its length is said; a longer one
follows on the pipe:

    job    kind u8 · format u8 · claimed width u32 · height u32 · out width u16 · height u16
           · rows u16 · columns u16 · payload bytes u32 · payload
    reply  status u8 · payload bytes u32 · payload

OPEN     payload: the encoded photograph, or RGB pixels.
         OK: source width u32 · height u32 · five quality figures f64 · RGB pixels.
OVERLAY  payload: heat map float32 [rows, columns] · RGB pixels.  OK: a PNG.
PNG      payload: RGB pixels.  OK: a PNG.
Otherwise CORRUPT, TOO_COSTLY (the photograph's fault) or BROKEN (ours), with a text for
the log that holds nothing of the photograph: the class of the exception.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

READY: Final = b"\x06"
# Room for most files of a phone; only pages that were once written to take memory.
SHARED_BYTES: Final = 4 * 2**20


class Kind(IntEnum):
    OPEN = 1
    OVERLAY = 2
    PNG = 3


class Status(IntEnum):
    OK = 0
    CORRUPT = 1
    TOO_COSTLY = 2
    BROKEN = 3


JOB: Final = struct.Struct("<BBIIHHHHI")
REPLY: Final = struct.Struct("<BI")
OPENED: Final = struct.Struct("<II5d")
