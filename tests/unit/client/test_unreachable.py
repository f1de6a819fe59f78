"""What `amulet-client` says of a gateway that it cannot talk to: one sentence, and nothing of gRPC's own."""

from __future__ import annotations

import importlib
import os
import subprocess
from pathlib import Path

import amulet_client
from cli.layout import Layout
from cli.provision import provision
from tests.integration.gateway.process import GatewayProcess
from tests.unit.client.test_command import COMMAND
from tests.unit.gateway.cast import Console, environment_for, policy


def provisioned(folder: Path) -> Layout:
    layout = Layout.of(folder)
    provision(layout)
    return layout


def health(gateway: str, *arguments: object, **variables: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error."""
    paths = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        [COMMAND, "health", "--gateway", gateway, *map(str, arguments)],
        env=paths | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_certificate_of_another_authority_is_one_sentence_unless_grpc_is_asked_to_speak(tmp_path: Path) -> None:
    ours, other = provisioned(tmp_path / "ours"), provisioned(tmp_path / "other")
    certificate = {"AMULET_TLS_CERT": f"{ours.tls / 'server.pem'}", "AMULET_TLS_KEY": f"{ours.tls / 'server.key'}"}
    with Console(policy()) as console:
        variables = environment_for(tmp_path, console) | certificate | {"AMULET_INSECURE": ""}
        with GatewayProcess(variables, tmp_path / "gateway.log") as gateway:
            found = health(gateway.target, "--ca", other.tls_ca)
            unnamed = health(gateway.target)
            loud = health(gateway.target, "--ca", other.tls_ca, GRPC_VERBOSITY="INFO")
            plain = health(gateway.target, "--insecure")
            right = health(gateway.target, "--ca", ours.tls_ca)
    gone = health(gateway.target, "--ca", ours.tls_ca)

    at = f"Error: the gateway at {gateway.target}"
    shows = f"{at} shows a certificate for another name, or one without a signature of"
    advice = "name its authority's PEM file with --ca, and the name that it is for with --gateway\n"
    assert found == (1, "", f"{shows} {other.tls_ca}: {advice}")
    assert unnamed == (1, "", f"{shows} an authority that this system trusts: {advice}")
    assert "Handshake failed" in loud[2]
    hung_up = "hung up: it restarts, or speaks TLS and was asked in plain text (--insecure)\n"
    assert plain == (1, "", f"{at} {hung_up}")
    assert right[1].endswith("SERVING\n")  # or NOT_SERVING: it has just started
    assert right[2] == ""
    nobody = "cannot be reached: nothing listens there; name its HOST:PORT with --gateway\n"
    assert gone == (1, "", f"{at} {nobody}")


def test_every_name_of_the_package_is_found_and_others_are_not() -> None:
    assert set(amulet_client._HOME) == set(amulet_client.__all__) <= set(dir(amulet_client))
    for name, home in amulet_client._HOME.items():
        assert getattr(amulet_client, name) is getattr(importlib.import_module(f"amulet_client.{home}"), name)
    assert not hasattr(amulet_client, "Server")
