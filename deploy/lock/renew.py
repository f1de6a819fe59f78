"""Renew requirements.lock: the exact version and digest of everything that the `dev` extra needs.

    python deploy/lock/renew.py           the newest versions of everything
    python deploy/lock/renew.py --keep    the versions that the lock has, and what it lacks

pip resolves and names the files that it would install; only names, versions and SHA-256
digests are kept, so the lock says nothing about where the files came from.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[2]
HEADER = "# Written by deploy/lock/renew.py from pyproject.toml's `dev` extra; not edited by hand.\n"
# What builds the project itself, so that installing it needs nothing beyond this file.
BUILD = ("pip", "setuptools>=80", "wheel")


def requirements() -> list[str]:
    """Every requirement of pyproject.toml, its own extras unfolded."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(requirement for extra in extras for requirement in extra)]
    return [*BUILD, *dict.fromkeys(each for each in wanted if not each.startswith("amulet["))]


def locked() -> str:
    """What the lock pins, without the digests: pip would otherwise want one of everything."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return "".join(f"{line.split()[0]}\n" for line in lines if not line.startswith("#"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="keep the versions that the lock has")
    keep = parser.parse_args().keep
    with TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        if keep:
            kept = Path(folder, "kept.txt")
            kept.write_text(locked())
            command += ["--constraint", str(kept)]
        subprocess.run([*command, "--report", str(report), *requirements()], check=True)
        installs = json.loads(report.read_text())["install"]
    lines = sorted(
        f"{item['metadata']['name'].lower().replace('_', '-')}=={item['metadata']['version']} "
        f"--hash=sha256:{item['download_info']['archive_info']['hashes']['sha256']}\n"
        for item in installs
    )
    (ROOT / "requirements.lock").write_text(HEADER + "".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
