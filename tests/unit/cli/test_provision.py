import stat
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from cli.layout import Layout
from cli.main import amulet
from cli.provision import provision, write_once, write_whole
from tests.disks import files_of_at_most


def test_secrets_are_made_once_and_readable_by_their_owner_alone(tmp_path: Path) -> None:
    layout = Layout.of(tmp_path / "stack")
    provision(layout)
    before = {path.name: path.read_bytes() for path in layout.secrets.iterdir()}

    provision(layout)

    assert {path.name: path.read_bytes() for path in layout.secrets.iterdir()} == before
    assert len(before["vault.key"]) == len(before["photo_seal.key"]) == 32
    assert stat.S_IMODE(layout.secrets.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in layout.secrets.iterdir()} == {0o600}


def test_the_development_certificate_is_for_loopback_and_signed_by_its_own_authority(tmp_path: Path) -> None:
    layout = Layout.of(tmp_path)
    provision(layout)
    authority = x509.load_pem_x509_certificate((layout.tls / "ca.pem").read_bytes())
    server = x509.load_pem_x509_certificate((layout.tls / "server.pem").read_bytes())

    server.verify_directly_issued_by(authority)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert stat.S_IMODE((layout.tls / "server.key").stat().st_mode) == 0o600


def test_the_auditors_public_key_belongs_to_the_signing_key(tmp_path: Path) -> None:
    layout = Layout.of(tmp_path)
    provision(layout)
    private = load_pem_private_key((layout.secrets / "audit_signing.key").read_bytes(), None)
    public = load_pem_public_key((layout.checkpoints / "audit_public.pem").read_bytes())

    assert private.public_key() == public


def test_a_file_that_exists_is_never_written_again(tmp_path: Path) -> None:
    path = tmp_path / "secret"

    assert write_once(path, b"first")
    assert not write_once(path, b"second")
    assert path.read_bytes() == b"first"
    assert [each.name for each in tmp_path.iterdir()] == ["secret"]


def test_a_full_disk_leaves_what_was_there_and_is_said_with_the_files_name(tmp_path: Path) -> None:
    path, once = tmp_path / "stack.json", tmp_path / "secret"
    path.write_bytes(b"earlier")

    with files_of_at_most(4), pytest.raises(OSError, match="File too large") as caught:
        write_whole(path, b"later, and longer")
    assert caught.value.filename == str(path)
    with files_of_at_most(4), pytest.raises(OSError, match="File too large"):
        write_once(once, b"a secret")

    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"stack.json": b"earlier"}
    with files_of_at_most(4):
        done = CliRunner().invoke(amulet, ["provision", "--state", str(tmp_path / "state")])
    assert done.exit_code == 1
    named = tmp_path / "state" / "secrets" / "control_token"
    assert done.output == f"Error: {tmp_path / 'state'} cannot be set up: File too large: {named}\n"


def test_the_command_makes_what_a_stack_needs_and_starts_nothing(tmp_path: Path) -> None:
    layout = Layout.of(tmp_path / "made")

    first = CliRunner().invoke(amulet, ["provision", "--state", str(layout.state)])
    secret = (layout.secrets / "key_secret").read_bytes()
    second = CliRunner().invoke(amulet, ["provision", "--state", str(layout.state)])

    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert (layout.secrets / "key_secret").read_bytes() == secret
    assert not layout.record.exists()
    assert not layout.supervisor_config.exists()


def test_a_folder_that_cannot_be_made_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    below = tmp_path / "file" / "below"

    done = CliRunner().invoke(amulet, ["provision", "--state", str(below)])

    assert done.exit_code == 1
    assert done.output.startswith(f"Error: {below} cannot be set up: ")
