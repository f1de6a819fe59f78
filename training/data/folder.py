"""A data set: one folder a class, photographs inside, and what can be said of each file.

    DATA/
      classes.yaml            display names and class tree; may be missing
      phra_sivali/            a class: its id is the folder's name
        front_001.jpg         SIDE_anything: front_, back_, edge_ or detail_; else the side is unknown
        back_obj17_2.jpg      objNUMBER between _ and _: every photograph with it shows that one object of the class
      ood/                    never a class: photographs of other things, a set per folder inside

What `classes.yaml` holds is said in `training.data.names`. Names of folders and files are compared and kept composed
(Unicode's NFC), however an archiver or a file system spells them.
"""

from __future__ import annotations

import hashlib
import re
import stat
import struct
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from protos.amulet.v1 import vocabulary_pb2 as words
from protos.cores import cores
from protos.photo_limits import BYTES_MAX, PIXELS_MAX, SIDE_PX_MIN
from training.data.errors import REPLACE, ClassesWrong, DataChanged, FolderMissing, PhotoBroken, printable
from training.data.layout import HIDDEN, OUTSIDE_FOLDER
from training.data.names import NAMES_FILE, ClassNames, NamedLevel, composed, look_of, read_names

FORMATS: Final = ("JPEG", "PNG", "WEBP")
SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})
LOOK_PX: Final = 64  # side of the small picture that near-duplicates are found by
SIDES: Final[Mapping[str, words.Side.ValueType]] = MappingProxyType(
    {"front": words.SIDE_FRONT, "back": words.SIDE_BACK, "edge": words.SIDE_EDGE, "detail": words.SIDE_DETAIL}
)
# Left by file managers and by people who describe their data; anything else is named as an error.
_IGNORED_SUFFIXES: Final = frozenset({".txt", ".md", ".yaml", ".yml", ".json", ".csv", ".ini", ".db", ".html"})
# What telephones, cameras and scanners write besides.
_OTHER_SUFFIXES: Final = frozenset(
    {
        ".heic",
        ".heif",
        ".hif",
        ".avif",
        ".tif",
        ".tiff",
        ".gif",
        ".bmp",
        ".mpo",
        ".jfif",
        ".jxl",
        ".dng",
        ".cr2",
        ".nef",
    }
)
_OTHER_STARTS: Final = (b"GIF8", b"II*\x00", b"MM\x00*", b"BM", b"\x00\x00\x00\x0cJXL ", b"\x00\x00\x00\x0cjP  ")
_HEIF_MARK: Final = b"ftyp"  # of HEIC and AVIF, after four bytes
SAVE_ANEW: Final = "save it as JPEG, or move it out of the folder"
SAVE_SMALLER: Final = "save it smaller, or move it out of the folder"
BRING_LARGER: Final = "bring a larger one, or move it out of the folder"
_CLASS_NAME_CHARACTERS_MAX: Final = 128
_OBJECT: Final = re.compile(r"(?:^|_)obj([0-9][a-z0-9-]*)(?:_|$)", re.IGNORECASE)
_BROKEN: Final = (OSError, SyntaxError, ValueError, MemoryError, NotImplementedError, OverflowError, EOFError)

Progress = Callable[[int, int], None]  # photographs read so far, photographs in all


@dataclass(frozen=True, slots=True)
class Photo:
    """A file that was read to its last pixel once, and what is known of it."""

    path: Path
    relative: str  # below the folder, composed, with "/" on every system: CLASS/front_001.jpg
    label: str  # the class id; for photographs outside all classes, the set's name
    side: words.Side.ValueType
    sha256: str  # of the file's bytes, in hex
    width_px: int  # upright
    height_px: int
    look: bytes = field(repr=False)  # uint8 [LOOK_PX, LOOK_PX] luma of the centred square, as a model sees it
    object: str = ""  # which one it shows: the same for all its views, and for no other; empty: the name does not say

    @property
    def side_name(self) -> str:
        """ "front", "back", "edge", "detail", or "unknown" where the name does not say."""
        return next((name for name, side in SIDES.items() if side == self.side), "unknown")

    def content(self) -> bytes:
        """The file's bytes once more. Raises DataChanged where they are not those that were read."""
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise DataChanged(self.path, f"can no longer be read ({error.strerror})") from None
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise DataChanged(self.path, "changed")
        return content


@dataclass(frozen=True, slots=True)
class Folder:
    """Labelled photographs of at least two classes, every one of them readable."""

    path: Path
    classes: tuple[str, ...]  # sorted: the order of a model's outputs
    names: Mapping[str, ClassNames]  # one for each class
    photos: tuple[Photo, ...]  # sorted by relative path
    fingerprint: str
    levels: tuple[NamedLevel, ...] = ()  # of the class tree, lowest first

    @property
    def per_class(self) -> Mapping[str, int]:
        """Class id -> photographs, in the classes' order."""
        counts = Counter(photo.label for photo in self.photos)
        return {label: counts[label] for label in self.classes}

    def index_of(self, photo: Photo) -> int:
        """The photograph's class as an index of `classes`."""
        return self.classes.index(photo.label)


@dataclass(frozen=True, slots=True)
class Scan:
    """What a folder holds, usable or not: what `amulet data check` reports on."""

    path: Path
    classes: tuple[str, ...]
    photos: tuple[Photo, ...]
    broken: tuple[PhotoBroken, ...]


def load_folder(path: Path, *, progress: Progress | None = None) -> Folder:
    """Read a data set, every file to its last pixel.

    progress: told after each photograph how many are read, of how many.
    Raises FolderMissing, ClassesWrong, PhotoBroken or NamesWrong, each a sentence that names
    the place.
    """
    scan = scan_folder(path, progress=progress)
    if scan.broken:
        first, *others = scan.broken
        raise first.beside(len(others))
    filled = {photo.label for photo in scan.photos}
    if not filled:
        raise FolderMissing(
            f"{path} holds no photographs: put JPEG, PNG or WebP files into one folder for each class inside it"
        )
    empty = [label for label in scan.classes if label not in filled]
    if empty:
        raise ClassesWrong(f"the class folder {path / empty[0]} holds no photographs: add some, or remove the folder")
    if len(scan.classes) < 2:
        raise ClassesWrong(
            f"{path} holds one class only ({scan.classes[0]}): a classifier needs at least two class folders"
        )
    names = read_names(path / NAMES_FILE, scan.classes)
    return Folder(
        path=path,
        classes=scan.classes,
        names=names.classes,
        photos=scan.photos,
        fingerprint=fingerprint(scan.photos),
        levels=names.levels,
    )


def scan_folder(path: Path, *, progress: Progress | None = None) -> Scan:
    """Read what can be read of a data set, and say of the rest why not.

    Raises FolderMissing where there is no folder, ClassesWrong where its layout is not that
    of a data set.
    """
    folders = _class_folders(path)
    files = [(file, label) for label, folder in folders.items() for file in _files(folder)]
    photos, broken = _read_all(files, path, progress)
    return Scan(path=path, classes=tuple(folders), photos=photos, broken=broken)


def load_outside(path: Path) -> Mapping[str, tuple[Photo, ...]]:
    """Photographs of things that are none of the classes: set name -> photographs.

    A folder of photographs is one set with the folder's own name; a folder of folders is a
    set for each. Raises FolderMissing where nothing is found, PhotoBroken for a file that
    cannot be read, ClassesWrong where photographs and folders are mixed.
    """
    check_place(path)
    inside = _subfolders(path)
    loose = _files(path) if not inside else [file for file in _visible(path) if file.suffix.lower() in SUFFIXES]
    if inside and loose:
        raise ClassesWrong(
            f"{path} holds both photographs ({loose[0].name}) and folders ({inside[0].name}): "
            f"keep either photographs of one set, or one folder for each set"
        )
    folders = _by_name(inside, path)
    sets = {name: _files(folder) for name, folder in folders.items()} or {composed(path.resolve().name): loose}
    loaded: dict[str, tuple[Photo, ...]] = {}
    for name, files in sets.items():
        photos, broken = _read_all([(file, name) for file in files], path, None)
        if broken:
            raise broken[0].beside(len(broken) - 1)
        if not photos:
            raise FolderMissing(f"{folders.get(name, path)} holds no photographs: add some, or leave it out")
        loaded[name] = photos
    return loaded


def read_photo(path: Path, *, relative: str, label: str) -> Photo:
    """Read one file to its last pixel. Raises PhotoBroken that says what is wrong with it."""
    if printable(relative) != relative:  # fingerprint, card and lists hold names as text
        raise PhotoBroken(path, "has a name that is not UTF-8", mend="rename it")
    if any(unicodedata.category(character) == "Cc" for character in relative):  # a line of the fingerprint is one name
        raise PhotoBroken(path, "has a name with a line break or another control character", mend="rename it")
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # whoever opens a pipe waits for its other end
            raise PhotoBroken(path, "is no regular file")
        if found.st_size > BYTES_MAX:
            raise PhotoBroken(
                path, f"has {found.st_size:,} bytes, and servers take at most {BYTES_MAX:,}", mend=SAVE_SMALLER
            )
        content = path.read_bytes()
    except OSError as error:
        raise PhotoBroken(path, f"cannot be read ({error.strerror})") from None
    image = open_image(path, content)
    with image:
        # A JPEG may be decoded at an eighth of its size: every byte is still read, in a tenth of the time.
        size = image.size
        image.draft("RGB", (LOOK_PX * 2, LOOK_PX * 2))
        try:
            turned = upright(image)
            side = min(turned.size)
            left, top = (turned.width - side) // 2, (turned.height - side) // 2
            square = (left, top, left + side, top + side)
            look = luma(turned).resize((LOOK_PX, LOOK_PX), Image.Resampling.BOX, box=square)
        except _BROKEN as error:
            raise PhotoBroken(path, f"is damaged ({error})") from None
    lies = (turned.width > turned.height) != (image.width > image.height)
    width_px, height_px = size[::-1] if lies else size
    return Photo(
        path=path,
        relative=relative,
        label=label,
        side=_side_of(path.name),
        sha256=hashlib.sha256(content).hexdigest(),
        width_px=width_px,
        height_px=height_px,
        look=look.tobytes(),
        object=_object_of(path.stem, label),
    )


def open_image(path: Path, content: bytes) -> Image.Image:
    """A photograph's header, of a format and size that a server takes; its pixels are not decoded yet.

    Raises PhotoBroken.
    """
    if not content:
        raise PhotoBroken(path, "is empty")
    try:
        image = Image.open(BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        picture = content.startswith(_OTHER_STARTS) or content[4:8] == _HEIF_MARK
        mend = SAVE_ANEW if picture else REPLACE
        raise PhotoBroken(path, "is not a JPEG, PNG or WebP photograph", mend=mend) from None
    except Image.DecompressionBombError:
        raise PhotoBroken(
            path, f"has far more pixels than the {PIXELS_MAX:,} that servers take", mend=SAVE_SMALLER
        ) from None
    except _BROKEN as error:
        raise PhotoBroken(path, f"is damaged ({error})") from None
    size = f"has {image.width} x {image.height} pixels"
    if image.width * image.height > PIXELS_MAX:
        raise PhotoBroken(path, f"{size}, and servers take at most {PIXELS_MAX:,}", mend=SAVE_SMALLER)
    if min(image.size) < SIDE_PX_MIN:
        raise PhotoBroken(path, f"{size}, and servers take no fewer than {SIDE_PX_MIN} a side", mend=BRING_LARGER)
    if image.format in ("PNG", "WEBP") and getattr(image, "is_animated", False):
        raise PhotoBroken(path, "is animated")
    return image


def upright(image: Image.Image) -> Image.Image:
    """The picture turned as its EXIF orientation says; as it is where that cannot be read."""
    try:
        return ImageOps.exif_transpose(image)
    except (SyntaxError, KeyError, TypeError, IndexError, struct.error):  # broken metadata: the pixels still count
        return image


def luma(image: Image.Image) -> Image.Image:
    """In 8 bits, of what a model is shown: 65535 is white where a pixel has 16 bits, transparency lies over white."""
    if image.mode.startswith("I") or image.mode == "F":  # Pillow would cut them off at 255
        levels = np.asarray(image, dtype=np.float64) / 257.0
        return Image.fromarray(np.rint(levels.clip(0.0, 255.0)).astype(np.uint8))
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "La", "RGBa", "PA"):
        rgba = image.convert("RGBA")
        white = Image.new("L", image.size, 255)
        white.paste(rgba.convert("RGB").convert("L"), mask=rgba.getchannel("A"))
        return white
    return image.convert("L")


def fingerprint(photos: Iterable[Photo]) -> str:
    """SHA-256, in hex, over one line `relative path, space, SHA-256 of the content` a photograph, sorted.

    The same files under the same names have the same fingerprint on every machine.
    """
    lines = sorted(f"{photo.relative} {photo.sha256}\n" for photo in photos)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def set_fingerprint(photos: Iterable[Photo]) -> str:
    """As `fingerprint`, of a set of other things: the same whether it was read alone or beside others."""
    return fingerprint(replace(photo, relative=photo.path.name) for photo in photos)


def _read_all(
    files: Sequence[tuple[Path, str]], root: Path, progress: Progress | None
) -> tuple[tuple[Photo, ...], tuple[PhotoBroken, ...]]:
    relative_of = {file: composed(file.relative_to(root).as_posix()) for file, _label in files}
    called: dict[str, Path] = {}
    for file, relative in relative_of.items():
        called.setdefault(relative, file)

    def read(item: tuple[Path, str]) -> Photo | PhotoBroken:
        file, label = item
        if file.suffix.lower() not in SUFFIXES:
            mend = SAVE_ANEW if file.suffix.lower() in _OTHER_SUFFIXES else REPLACE
            return PhotoBroken(file, "is not named like a photograph (.jpg, .jpeg, .png or .webp)", mend=mend)
        relative = relative_of[file]
        if called[relative] != file:
            spellings = f"{called[relative].name!a} and {file.name!a}"
            return PhotoBroken(file, f"is the second of one name in two spellings, {spellings}", mend="rename it")
        try:
            return read_photo(file, relative=relative, label=label)
        except PhotoBroken as broken:
            return broken

    # Pillow decodes outside the interpreter's lock, so threads are enough.
    with ThreadPoolExecutor(max_workers=cores()) as pool:
        outcomes: list[Photo | PhotoBroken] = []
        for outcome in pool.map(read, files):
            outcomes.append(outcome)
            if progress is not None:
                progress(len(outcomes), len(files))
    photos = sorted((item for item in outcomes if isinstance(item, Photo)), key=lambda photo: photo.relative)
    return tuple(photos), tuple(item for item in outcomes if isinstance(item, PhotoBroken))


def _class_folders(path: Path) -> Mapping[str, Path]:
    """Class id -> folder, sorted by id."""
    check_place(path)
    inside = [folder for folder in _subfolders(path) if folder.name != OUTSIDE_FOLDER]
    loose = [file for file in _visible(path) if file.is_file() and file.suffix.lower() in SUFFIXES]
    if loose:
        raise ClassesWrong(
            f"{loose[0]} lies beside the class folders: move each photograph into the folder of its class"
        )
    if not inside:
        raise FolderMissing(
            f"{path} holds no class folders: make one folder for each class, with its photographs inside"
        )
    folders = _by_name(inside, path)
    for label in folders:
        # What the card and the wire accept as a class id.
        if (
            len(label) > _CLASS_NAME_CHARACTERS_MAX
            or "\\" in label
            or not label.isprintable()
            or label != label.strip()
        ):
            raise ClassesWrong(
                f"the folder name {label!r} cannot be a class id: use at most {_CLASS_NAME_CHARACTERS_MAX} printable "
                f"characters without a backslash or spaces at the ends"
            )
    return folders


def _by_name(folders: Sequence[Path], path: Path) -> Mapping[str, Path]:
    """Composed name -> folder, sorted.

    Raises ClassesWrong where two look the same, or but for case: half of each would be a class, people are shown one
    name for both, and a disk or an archive that knows no case holds one of them.
    """
    found: dict[str, Path] = {}
    for folder in sorted(folders):
        first = found.setdefault(look_of(composed(folder.name).casefold()), folder)
        if first is folder:
            continue
        if look_of(first.name) == look_of(folder.name):
            raise ClassesWrong(
                f"{path} holds two folders whose names look the same, {first.name!a} and {folder.name!a}: "
                f"move all photographs of {composed(folder.name)} into one of them and remove the other"
            )
        raise ClassesWrong(
            f"{path} holds two folders whose names differ in case alone, {composed(first.name)} and "
            f"{composed(folder.name)}: move all photographs into one of them, or rename one so that people can tell "
            f"them apart"
        )
    return dict(sorted((composed(folder.name), folder) for folder in folders))


def _files(folder: Path) -> list[Path]:
    """Photographs, and what may be meant as one: a notebook or a list beside them is passed over."""
    found: list[Path] = []
    for entry in _visible(folder):
        if entry.is_dir():
            raise ClassesWrong(f"{entry} is a folder inside a class folder: photographs lie directly in {folder}")
        if entry.suffix.lower() not in _IGNORED_SUFFIXES:
            found.append(entry)
    return found


def _subfolders(path: Path) -> list[Path]:
    return [entry for entry in _visible(path) if entry.is_dir()]


def _visible(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if not entry.name.startswith(HIDDEN))


def check_place(path: Path) -> None:
    """Raises FolderMissing where there is no folder, or one whose name no report could hold."""
    if not path.is_dir():
        raise FolderMissing(_no_folder(path))
    whole = str(path.resolve())
    if printable(whole) != whole:  # cards and reports name it
        raise FolderMissing(f"the folder {path} has a name that is not UTF-8: rename it")


def _no_folder(path: Path) -> str:
    if path.exists():
        return f"{path} is a file, not a folder of photographs"
    return f"there is no folder {path}: give the folder that holds one folder for each class"


def _object_of(stem: str, label: str) -> str:
    found = _OBJECT.search(stem)
    return f"{label}/{found[1].lower()}" if found else ""


def _side_of(name: str) -> words.Side.ValueType:
    return SIDES.get(name.lower().partition("_")[0], words.SIDE_UNSPECIFIED)
