"""Compose and Kubernetes: what they start, set, open and ask is what the processes have."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import click
import kubernetes_validate
import pytest
import yaml
from prometheus_client import CollectorRegistry

from cli.layout import Layout, Ports
from cli.provision import provision
from cli.remote import CHUNK_BYTES
from cli.stack import READY_S_MAX
from console.site.configuration import ConsoleSettings
from console.site.configuration import load as console_settings
from gateway.ops import pages
from gateway.settings import Settings as GatewaySettings
from gateway.settings import read_settings
from protos.environment import PREFIX, VARIABLES
from tests.pages import ROOT
from tests.unit.deploy.manifests import (
    BASE,
    EXAMPLE,
    Process,
    compose,
    containers,
    kustomization,
    of_compose,
    of_kubernetes,
    resources,
    workloads,
)

# The oldest with containers that start before others and end after them, and the newest that the package knows.
KUBERNETES: Final = ("1.32", "1.37")
# PostgreSQL, Redis, RabbitMQ; names, webhooks and mail.
OF_OTHERS: Final = {5432, 6379, 5672, 53, 443, 465, 587}
EVERY: Final = [pytest.param(each, id=each.name) for each in (*of_compose(), *of_kubernetes())]
PODS: Final = [pytest.param(pod, id=name) for name, pod in workloads()]
PROGRAMS_OF_THE_BASE: Final = {"sleep", "install"}  # coreutils, in every Debian
MEMORY: Final = {"Mi": 1, "Gi": 1024}
LARGEST_VERSION_MIB: Final = 2447  # measured of a graph as large as an archive's may be: decision 0178
JAVA_TAKES: Final = re.compile(r"-(?:Xmx|XX:MaxDirectMemorySize=|XX:MaxMetaspaceSize=|XX:ReservedCodeCacheSize=)(\d+)m")


@pytest.fixture(autouse=True)
def no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


def loaded(path: Path) -> ModuleType:
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[path.stem] = module  # its dataclasses look for themselves there
    spec.loader.exec_module(module)
    return module


def commands(process: Process) -> Iterator[list[str]]:
    """Everything that a container executes, probes included, one command each."""
    document = process.document
    listed: list[Sequence[str]] = [process.command] if process.command else []
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        listed += [document[probe]["exec"]["command"]] if "exec" in document.get(probe, {}) else []
    if "lifecycle" in document:
        listed.append(document["lifecycle"]["preStop"]["exec"]["command"])
    for words in listed:
        if list(words[:2]) == ["sh", "-ec"]:
            yield from (shlex.split(part) for part in words[2].split("&&"))
        else:
            yield list(words)


def check_command(words: list[str], target: str) -> None:
    """Fails unless the image has this program and the program takes these arguments."""
    if words[0] in PROGRAMS_OF_THE_BASE:
        assert shutil.which(words[0])
    elif words[0] == "celery":
        from celery.bin.celery import celery

        assert (target, words[1:3]) == ("console", ["-A", "console.celery_app"])
        assert find_spec(words[2])
        command = celery.commands[words[3]]
        command.make_parser(command.context_class(command)).parse_args(words[4:])
    elif words[:2] == ["python", "-m"] and words[2] == "console.manage":
        assert target == "console"
        found = [*ROOT.glob(f"console/*/management/commands/{words[3]}.py")]
        assert found or words[3] in {"migrate", "collectstatic"}, words[3]
        for option in words[4:]:
            assert option == "--noinput" or f'"{option}"' in found[0].read_text("utf-8"), option
    elif words[:2] == ["python", "-m"]:
        assert words[2:] == [{"gateway": "gateway", "console": "console.serve"}.get(target)]
        assert find_spec(words[2])
    elif words[:2] == ["python", "/opt/torchserve/launch.py"]:
        assert target == "serving"
        loaded(ROOT / "deploy/torchserve/launch.py")._options(words[2:])
    else:
        assert words[:2] == ["python", "/opt/answers.py"]
        where, path, *allowed = words[2:]
        by_socket = where.endswith("/state/tmp/inference.sock")
        assert allowed == ["any"] * by_socket
        assert by_socket or where in {"7445", "7480"}
        assert path in answered(target)


def answered(target: str) -> set[str]:
    """The pages of a process that say how it is."""
    if target == "gateway":
        return set(pages(None, CollectorRegistry()))  # type: ignore[arg-type]  # only its names are asked
    if target == "console":
        text = (ROOT / "console/site/urls.py").read_text("utf-8")
        return {f"/{name}" for name in re.findall(r'path\("(healthz|readyz|metrics)", health\.', text)}
    return {"/ping"}  # TorchServe's own: tests/integration/torchserve asks it


@contextlib.contextmanager
def environment(process: Process, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mapping[str, str]]:
    with monkeypatch.context() as patched:
        for name, value in process.environment.items():
            patched.setenv(name, value)
        yield process.environment


@pytest.mark.parametrize("process", EVERY)
def test_a_process_is_given_settings_that_it_reads_and_takes(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = [name for name in process.environment if name.removeprefix(PREFIX) not in VARIABLES]
    assert not unknown
    if process.target == "serving":
        assert set(process.environment) <= {"AMULET_PIXELS_DIR"}  # the launcher reads no other
        return
    foreign = [name for name in process.environment if process.target not in VARIABLES[name.removeprefix(PREFIX)]]
    assert not foreign

    with environment(process, monkeypatch) as given:
        if process.target == "gateway" and given:
            read_settings(given)
        elif process.target == "console":
            console_settings()


@pytest.mark.parametrize("process", EVERY)
def test_every_command_and_probe_exists_in_its_image(process: Process) -> None:
    for words in commands(process):
        check_command(words, process.target)


def test_a_command_that_nobody_has_would_be_noticed() -> None:
    for words, target in (
        (["python", "-m", "console.manage", "reconsile"], "console"),
        (["python", "-m", "console.manage", "checkpoint", "--wach"], "console"),
        (["python", "-m", "gateway"], "console"),
        (["celery", "-A", "console.celery_app", "worker", "--logleve1", "INFO"], "console"),
        (["python", "/opt/torchserve/launch.py", "--state=a", "--models=b"], "serving"),
        (["python", "/opt/answers.py", "7445", "/healthy"], "gateway"),
    ):
        with pytest.raises((AssertionError, SystemExit, click.UsageError)):
            check_command(words, target)


def listens(process: Process, monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The ports on which a process answers other pods, by its own settings."""
    with environment(process, monkeypatch) as given:
        if process.command[:3] == ("python", "-m", "gateway"):
            settings: GatewaySettings = read_settings(given)
            return {int(each.rpartition(":")[2]) for each in (settings.gateway_listen, settings.gateway_ops_listen)}
        if process.command[:3] == ("python", "-m", "console.serve"):
            console: ConsoleSettings = console_settings()
            return {console.console_port}
    return set()


def test_ports_are_those_on_which_a_process_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    named: dict[str, dict[str, int]] = {}
    for process in of_kubernetes():
        declared = {each["name"]: each["containerPort"] for each in process.document.get("ports", ())}
        assert set(declared.values()) == listens(process, monkeypatch), process.name
        named.setdefault(process.name.partition("/")[0], {}).update(declared)
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = process.document.get(probe, {}).get("httpGet")
            if asked:
                assert asked["port"] in declared, process.name
                assert asked["path"] in answered(process.target), process.name
    for service in (each for each in resources() if each["kind"] == "Service"):
        (behind,) = service["spec"]["selector"].values()
        for port in service["spec"]["ports"]:
            assert named[behind][port["targetPort"]] == port["port"], service["metadata"]["name"]
    for policy in (each for each in resources(EXAMPLE) if each["kind"] == "NetworkPolicy"):
        rules = [*policy["spec"].get("ingress", ()), *policy["spec"].get("egress", ())]
        opened = {port["port"] for rule in rules for port in rule["ports"]}
        known = {port for ports in named.values() for port in ports.values()} | OF_OTHERS
        assert opened <= known, policy["metadata"]["name"]

    published = {str(port).rpartition(":")[2] for port in compose()["services"]["network"]["ports"]}
    assert published == {str(port) for port in (Ports().gateway, Ports().gateway_ops, Ports().console)}


def test_addresses_between_processes_lead_to_a_service_that_has_the_port() -> None:
    served = {
        (each["metadata"]["name"], port["port"])
        for each in resources()
        if each["kind"] == "Service"
        for port in each["spec"]["ports"]
    }
    named = ("AMULET_CONSOLE_URL", "AMULET_GATEWAY")
    assert {name for process in of_kubernetes() for name in process.environment} >= set(named)
    for process in of_kubernetes():
        for name in named:
            if name in process.environment:
                host, port = process.environment[name].removeprefix("http://").split(":")
                assert (host, int(port)) in served
        hosts = process.environment.get("AMULET_CONSOLE_HOSTS", "amulet-console").split(",")
        assert "amulet-console" in hosts, process.name


def test_nothing_is_open_that_is_not_named_and_torchserve_to_nobody() -> None:
    policies = [each for each in resources(EXAMPLE) if each["kind"] == "NetworkPolicy"]
    (closed,) = [each for each in policies if each["metadata"]["name"] == "amulet-nothing"]
    assert closed["spec"]["podSelector"] == {}
    assert closed["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & closed["spec"].keys()
    text = json.dumps(policies)
    ports = Ports()
    for port in (
        ports.torchserve_grpc_inference,
        ports.torchserve_grpc_management,
        ports.torchserve_management,
        ports.torchserve_inference,
        ports.torchserve_metrics,
    ):
        assert str(port) not in text
    # Who asks TorchServe stands beside one.
    for _name, pod in workloads():
        images = [each["image"] for each in containers(pod)]
        asks = [each for each in containers(pod) if {"gateway", "worker", "web", "reconciler"} & {each["name"]}]
        assert not asks or "amulet/serving" in images


def test_the_door_for_people_opens_what_they_use_and_neither_gateways_door_nor_metrics() -> None:
    (door,) = [each for each in resources(EXAMPLE) if each["kind"] == "Ingress"]
    (rule,) = door["spec"]["rules"]
    opened = {each["path"].strip("/"): each["pathType"] for each in rule["http"]["paths"]}
    text = (ROOT / "console/site/urls.py").read_text("utf-8")
    listed = {path.partition("/")[0] for path in re.findall(r'\bpath\("([^"]*)"', text)}
    assert {"internal", "metrics", "healthz", "readyz", "", "admin"} <= listed
    for_people = listed - {"internal", "metrics", "healthz", "readyz"}
    # An Exact one opens itself alone: of "" every page would be below.
    assert opened == {name: "Prefix" if name else "Exact" for name in {*for_people, "static"}}


def test_the_door_for_people_lets_an_archives_pieces_in() -> None:
    (door,) = [each for each in resources(EXAMPLE) if each["kind"] == "Ingress"]
    limit = door["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]
    assert f"DATA_UPLOAD_MAX_MEMORY_SIZE = {limit.removesuffix('m')} * 2**20" in (
        ROOT / "console/site/settings.py"
    ).read_text("utf-8")
    assert int(limit.removesuffix("m")) * 2**20 > CHUNK_BYTES


@pytest.mark.parametrize("pod", PODS)
def test_a_pod_may_do_nothing_beyond_its_work(pod: dict[str, Any]) -> None:
    assert pod["automountServiceAccountToken"] is False
    # Kubernetes would add AMULET_CONSOLE_PORT and its kin for each Service, and no process starts with those.
    assert pod["enableServiceLinks"] is False
    whole = pod["securityContext"]
    assert whole["runAsNonRoot"] is True
    assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
    assert whole["runAsUser"] == whole["runAsGroup"] == whole["fsGroup"] == 10001
    volumes = {each["name"]: each for each in pod["volumes"]}
    for container in containers(pod):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        assert {each["name"] for each in container.get("volumeMounts", ())} <= volumes.keys() | {"journal"}


def test_compose_lets_a_process_do_nothing_beyond_its_work() -> None:
    document = compose()
    for process in of_compose():
        service = process.document
        assert service["read_only"] is True, process.name
        assert service["cap_drop"] == ["ALL"], process.name
        assert service["security_opt"] == ["no-new-privileges:true"], process.name
        assert set(service.get("secrets", ())) <= document["secrets"].keys(), process.name
        assert service.get("depends_on", {}).keys() <= document["services"].keys(), process.name
        sources = {volume.split(":")[0] for volume in service.get("volumes", ())}
        assert {each for each in sources if not each.startswith((".", "/"))} <= document["volumes"].keys(), process.name
        asked = {
            value.removeprefix("/run/secrets/")
            for value in process.environment.values()
            if value.startswith("/run/secrets/")
        }
        given = set(service.get("secrets", ()))
        assert given <= asked, process.name
        # The console's processes share their settings, and each is given what it uses.
        assert given == asked or process.target == "console", process.name


def test_secrets_are_those_that_are_provisioned_and_none_is_in_the_repository(tmp_path: Path) -> None:
    layout = Layout.of(tmp_path / "made")
    provision(layout)
    made = {path.relative_to(layout.state).as_posix() for path in layout.state.rglob("*") if path.is_file()}

    for secret in compose()["secrets"].values():
        assert secret["file"].removeprefix("./.amulet/") in made
    for _name, pod in workloads():
        for volume in pod["volumes"]:
            if volume.get("secret", {}).get("secretName") == "amulet-secrets":
                assert {f"secrets/{each['key']}" for each in volume["secret"]["items"]} <= made
    assert not [each for each in resources(EXAMPLE) if each["kind"] == "Secret"]


def test_secret_files_that_a_process_needs_are_mounted_where_its_settings_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needed = {
        "amulet-gateway/gateway": (
            "CONTROL_TOKEN_FILE", "KEY_SECRET_FILE", "INPUT_HASH_SECRET_FILE", "TLS_CERT", "TLS_KEY",
        ),
        "amulet-console/web": (
            "SECRET_KEY_FILE", "CONTROL_TOKEN_FILE", "KEY_SECRET_FILE", "PHOTO_SEAL_KEY_FILE", "VAULT_KEY_FILE",
            "TLS_CA",
        ),
        "amulet-console/worker": ("SECRET_KEY_FILE", "KEY_SECRET_FILE", "PHOTO_SEAL_KEY_FILE", "VAULT_KEY_FILE"),
        "amulet-signer/signer": ("AUDIT_KEY_FILE",),
    }  # fmt: skip
    pods = dict(workloads())
    assert set(needed) <= {process.name for process in of_kubernetes()}
    for process in of_kubernetes():
        volumes = {each["name"]: each for each in pods[process.name.partition("/")[0]]["volumes"]}
        mounted = {
            f"{mount['mountPath']}/{item['path']}"
            for mount in process.document.get("volumeMounts", ())
            for item in volumes.get(mount["name"], {}).get("secret", {}).get("items", ())
        }
        for name in needed.get(process.name, ()):
            assert process.environment[f"{PREFIX}{name}"] in mounted, f"{process.name}: {name}"
        if "signer" not in process.name:
            assert not [path for path in mounted if "audit_signing" in path]


def test_the_key_that_signs_the_audit_trail_is_given_to_its_signer_alone() -> None:
    """Under Compose; under Kubernetes that is a part of the test above."""
    services = compose()["services"]
    assert [name for name, each in services.items() if "audit_signing.key" in each.get("secrets", ())] == ["keeper"]


def test_a_gateway_has_time_for_its_last_calls_and_torchserve_outlives_it() -> None:
    request_s_max = GatewaySettings.model_fields["request_s_max"].default
    pod = dict(workloads())["amulet-gateway"]
    (gateway,) = pod["containers"]
    waits_s = float(gateway["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] >= waits_s + request_s_max + 10
    # One that starts before the others and is ended after them.
    assert {each["name"] for each in pod["initContainers"] if each.get("restartPolicy") == "Always"} == {
        "torchserve",
        "reconciler",
    }

    services = compose()["services"]
    assert float(services["gateway"]["stop_grace_period"].rstrip("s")) >= request_s_max + 10
    assert services["gateway"]["depends_on"] == {"torchserve": {"condition": "service_healthy"}}
    torchserve = next(each for each in of_kubernetes() if each.name == "amulet-gateway/torchserve")
    probe = torchserve.document["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= READY_S_MAX


def test_what_there_is_one_of_stays_one() -> None:
    found = {each["metadata"]["name"]: each["spec"] for each in resources(EXAMPLE) if each["kind"] == "Deployment"}
    for name in ("amulet-beat", "amulet-signer"):
        assert (found[name]["replicas"], found[name]["strategy"]) == (1, {"type": "Recreate"})
    raised = {each["name"] for each in kustomization(EXAMPLE)["replicas"]}
    assert raised == {"amulet-gateway"}
    gateway = next(
        each for each in resources() if each["metadata"]["name"] == "amulet-gateway" and each["kind"] == "StatefulSet"
    )
    (journal,) = gateway["spec"]["volumeClaimTemplates"]
    assert journal["spec"]["accessModes"] == ["ReadWriteOnce"]
    (guard,) = [each for each in resources() if each["kind"] == "PodDisruptionBudget"]
    assert guard["spec"]["selector"]["matchLabels"] == gateway["spec"]["selector"]["matchLabels"]


def test_as_much_memory_is_asked_for_as_was_measured() -> None:
    measured = json.loads((ROOT / "benchmarks/results/stack.json").read_text())["stack"]["after"]["processes"]
    programs = {
        "amulet-gateway/gateway": "gateway",
        "amulet-gateway/torchserve": "torchserve",
        "amulet-gateway/reconciler": "keeper",
        "amulet-console/web": "console",
        "amulet-console/worker": "worker",
    }
    assert set(programs) <= {process.name for process in of_kubernetes()}
    assert set(programs.values()) <= {each["program"] for each in measured}
    for process in of_kubernetes():
        if process.name in programs:
            rss_mib = sum(each["rss_mib"] for each in measured if each["program"] == programs[process.name])
            asked = process.document["resources"]["requests"]["memory"]
            assert int(asked[:-2]) * MEMORY[asked[-2:]] >= rss_mib, f"{process.name}: {rss_mib} MiB"


def test_a_version_that_asks_for_too_much_is_refused_before_its_container_is_ended() -> None:
    """The kernel ends a container that goes over its limit, every version in it; a worker's own limit fails one."""
    launch = loaded(ROOT / "deploy/torchserve/launch.py")
    beside = [process for process in of_kubernetes() if process.command[:2] == ("python", "/opt/torchserve/launch.py")]
    assert len(beside) == len([each for each in of_kubernetes() if each.name.endswith("/torchserve")]) == 2
    for process in beside:
        options = launch._options(process.command[2:])
        arguments = launch._arguments(options, options.state, options.state, options.state)
        java_mib = sum(int(found[1]) for found in map(JAVA_TAKES.fullmatch, arguments) if found)
        asked, limit = (process.document["resources"][each]["memory"] for each in ("requests", "limits"))
        limit_mib = int(limit[:-2]) * MEMORY[limit[-2:]]

        assert java_mib > 300
        assert options.worker_mib >= LARGEST_VERSION_MIB, process.name
        # As much as was measured of Java and the versions that are served, beside one that takes all it may.
        assert java_mib + options.worker_mib + int(asked[:-2]) * MEMORY[asked[-2:]] <= limit_mib, process.name


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_knows_every_field(version: str) -> None:
    listed = resources(EXAMPLE)
    assert len(listed) > 15

    for each in listed:
        if each["kind"] != "Kustomization":
            kubernetes_validate.validate(each, version, strict=True)


def test_every_manifest_is_listed_and_every_listed_one_is_there() -> None:
    for folder in (BASE, EXAMPLE):
        document = kustomization(folder)
        generated = [name for each in document.get("configMapGenerator", ()) for name in each.get("envs", ())]
        listed = {*document["resources"], *generated} - {"../base"}
        assert listed == {path.name for path in folder.iterdir()} - {"kustomization.yaml"}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl")
@pytest.mark.parametrize("folder", [BASE, EXAMPLE])
def test_kustomize_builds_the_same_objects(folder: Path) -> None:
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    built = [each for each in yaml.safe_load_all(done.stdout) if each["kind"] != "ConfigMap"]

    assert sorted((each["kind"], each["metadata"]["name"]) for each in built) == sorted(
        (each["kind"], each["metadata"]["name"]) for each in resources(folder)
    )
    for each in built:
        kubernetes_validate.validate(each, KUBERNETES[-1], strict=True)


def test_under_compose_an_erasure_reaches_what_the_gateway_keeps_aside_and_nobody_else_writes_there() -> None:
    """It rewrites files of the journal's folder `rejected`; where it cannot, it waits for ever."""
    may_write = {
        name
        for name, service in compose()["services"].items()
        if "journal:/var/lib/amulet/gateway" in map(str, service.get("volumes", ()))
    }
    assert may_write == {"gateway", "worker"}

    services = compose()["services"]
    assert [str(each).removesuffix(":ro") for each in services["console"]["volumes"]] == [
        str(each).removesuffix(":ro") for each in services["worker"]["volumes"]
    ]
