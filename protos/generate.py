"""Renew the Python stubs beside the `.proto` files, or check that they are current.

    python -m protos.generate            # write
    python -m protos.generate --check    # exit 1 and name what differs

Sources are named from `protos/` (`amulet/v1/prediction.proto`), as reflection and other
languages expect; the Python stubs are imported as `protos.amulet.v1...`, so that no
top-level `amulet` package is claimed. protoc writes the former into the import lines, and
`_own_imports` turns them into the latter (decision 0001).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
PACKAGES = ("amulet", "inference", "torchserve")
_OWN_IMPORT = re.compile(rf"^(from|import) (?=(?:{'|'.join(PACKAGES)})[.\s])", re.MULTILINE)
_OWN_NAME = re.compile(rf"(?<![\w.])(?=(?:{'|'.join(PACKAGES)})(?:\.\w+)*\.\w+_pb2\b)")


def sources(root: Path = ROOT) -> list[Path]:
    """Every `.proto` file below `root`, relative to it, in a stable order."""
    return sorted(path.relative_to(root) for path in root.rglob("*.proto"))


def generated(root: Path = ROOT) -> Mapping[Path, str]:
    """Relative path and text of every stub that belongs beside the sources.

    Raises RuntimeError with protoc's exit status when a source does not compile.
    """
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    with TemporaryDirectory() as folder:
        status = protoc.main(
            [
                "protoc",
                f"-I{root}",
                f"-I{well_known}",
                *(f"--plugin={name}={_beside_python(name)}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")),
                f"--python_out={folder}",
                f"--mypy_out=quiet:{folder}",
                f"--grpc_python_out={folder}",
                f"--mypy_grpc_out=quiet:{folder}",
                *(str(path) for path in sources(root)),
            ]
        )
        if status != 0:
            raise RuntimeError(f"protoc failed with exit status {status}")
        written = {path.relative_to(folder): path.read_text() for path in Path(folder).rglob("*") if path.is_file()}
    # protoc writes a service module for every source, also where it declares no service.
    serving = {path.with_name(f"{path.stem}_pb2_grpc") for path in sources(root) if _declares_service(root / path)}
    stubs = {
        path: _own_imports(text)
        for path, text in sorted(written.items())
        if not path.stem.endswith("_grpc") or path.with_suffix("") in serving
    }
    folders = {parent for path in stubs for parent in path.parents if parent != Path()}
    return stubs | {folder / "__init__.py": "" for folder in folders}


def stale(root: Path = ROOT) -> list[Path]:
    """Stubs that are missing, differ, or belong to no source any more; relative paths."""
    wanted = generated(root)
    differing = [
        path for path, text in wanted.items() if not (root / path).is_file() or (root / path).read_text() != text
    ]
    orphans = [
        path.relative_to(root)
        for pattern in ("*_pb2*.py", "*_pb2*.pyi")
        for path in root.rglob(pattern)
        if path.relative_to(root) not in wanted
    ]
    return sorted({*differing, *orphans})


def _beside_python(program: str) -> Path:
    """protoc would look for its plugins on PATH, where an environment that is not activated does not put them."""
    return Path(sys.executable).with_name(program)


def _declares_service(source: Path) -> bool:
    return re.search(r"^service \w+ \{", source.read_text(), re.MULTILINE) is not None


def _own_imports(text: str) -> str:
    text = _OWN_IMPORT.sub(r"\1 protos.", text)
    return _OWN_NAME.sub("protos.", text)


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        differing = stale()
        for path in differing:
            print(f"protos/{path} is not what its .proto gives: run `python -m protos.generate`", file=sys.stderr)
        return 1 if differing else 0
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    for path, text in generated().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
