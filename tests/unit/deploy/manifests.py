"""What deploy/ runs, as tests read it: every process of compose and Kubernetes in one form, and the images."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.pages import ROOT

CONTAINERFILE: Final = ROOT / "deploy/images/Containerfile"
COMPOSE: Final = ROOT / "deploy/compose/compose.yaml"
BASE: Final = ROOT / "deploy/kubernetes/base"
EXAMPLE: Final = ROOT / "deploy/kubernetes/example"
_INTERPOLATED: Final = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


@dataclass(frozen=True, slots=True)
class Process:
    """One container that we start, wherever it is described."""

    name: str  # where it stands: WORKLOAD/CONTAINER, or compose/SERVICE
    image: str  # without its tag
    tag: str
    command: tuple[str, ...]  # empty: the image's own
    environment: Mapping[str, str]
    document: Mapping[str, Any]  # as it stands in its file

    @property
    def target(self) -> str:
        """The target of the Containerfile that its image is built from."""
        return self.image.rpartition("/")[2]


def compose() -> dict[str, Any]:
    """compose.yaml with the defaults of its variables in place, and `set` for those that it demands."""
    text = _INTERPOLATED.sub(lambda found: found[3] if found[2] == "-" else "set", COMPOSE.read_text("utf-8"))
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def of_compose() -> list[Process]:
    """Our own services; the servers beside them are others' images."""
    return [
        Process(
            name=f"compose/{name}",
            image=service["image"].rpartition(":")[0],
            tag=service["image"].rpartition(":")[2],
            command=tuple(service.get("command", ())),
            environment={name: value or "" for name, value in service.get("environment", {}).items()},
            document=service,
        )
        for name, service in compose()["services"].items()
        if service["image"].startswith("amulet/")
    ]


def kustomization(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    return document


def resources(folder: Path = BASE) -> list[dict[str, Any]]:
    """Every object that a kustomization lists, those of the ones below it included."""
    found: list[dict[str, Any]] = []
    for name in kustomization(folder)["resources"]:
        path = (folder / name).resolve()
        found += resources(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text("utf-8")))
    return found


def settings_of(config_map: str) -> dict[str, str]:
    """What a generated ConfigMap of the base holds."""
    generated = next(each for each in kustomization(BASE)["configMapGenerator"] if each["name"] == config_map)
    lines = [line for name in generated.get("envs", ()) for line in (BASE / name).read_text("utf-8").splitlines()]
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def workloads() -> list[tuple[str, dict[str, Any]]]:
    """(name, specification of its pod) of everything that runs."""
    kinds = ("StatefulSet", "Deployment", "Job")
    return [
        (each["metadata"]["name"], each["spec"]["template"]["spec"]) for each in resources() if each["kind"] in kinds
    ]


def containers(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


def of_kubernetes() -> list[Process]:
    tags = {each["name"]: each["newTag"] for each in kustomization(BASE)["images"]}
    return [
        Process(
            name=f"{name}/{container['name']}",
            image=container["image"],
            tag=tags.get(container["image"], "none is set"),
            command=tuple(container.get("args", ())),
            environment=dict(_environment(container)),
            document=container,
        )
        for name, pod in workloads()
        for container in containers(pod)
    ]


def _environment(container: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for source in container.get("envFrom", ()):
        yield from settings_of(source["configMapRef"]["name"]).items()
    for each in container.get("env", ()):
        # What a secret holds is the operator's; an address of the kind that the variable takes stands for it.
        yield each["name"], each.get("value") or _STANDING_FOR.get(each["name"], "a-name")


_STANDING_FOR: Final = {
    "AMULET_DATABASE_URL": "postgresql://user:password@postgres:5432/amulet",
    "AMULET_BROKER_URL": "amqp://user:password@rabbitmq:5672//",
    "AMULET_CACHE_URL": "redis://:password@redis:6379/0",
}


def stages() -> dict[str, str]:
    """Stage of the Containerfile -> its text, without comments."""
    text = re.sub(r"^#.*\n", "", CONTAINERFILE.read_text("utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    parts = re.split(r"^FROM (\S+) AS (\S+)\n", text, flags=re.MULTILINE)[1:]
    return {name: body for _parent, name, body in zip(parts[0::3], parts[1::3], parts[2::3], strict=True)}
