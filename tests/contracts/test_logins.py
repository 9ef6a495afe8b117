"""Ways of being let in without a question, by both clients: what an agent holds, and certificates."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from slurm.errors import TransportError
from slurm.plugins import plugin
from slurm.url import ClusterURL
from testbed import SSHTestbed
from testbed.config import user_name
from testbed.programs import find_program

NewSSH = Callable[..., SSHTestbed]

pytestmark = pytest.mark.parametrize("kind", ["openssh", "paramiko"])


def let_in(kind: str) -> bool:
    url = ClusterURL.parse(f"slurm+{kind}://box")
    transport = plugin("transports", url.transport).from_url(url)
    try:
        return bool(transport.run(["echo", "in"]).stdout == "in\n")
    except TransportError:
        return False
    finally:
        transport.close()


def keygen(*arguments: str | Path) -> None:
    subprocess.run([find_program("ssh-keygen") or "ssh-keygen", "-q", *arguments], check=True, capture_output=True)


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], object]]:
    """A real ssh-agent of this test's own; give a function that adds a key to it, with the certificate beside it."""
    with TemporaryDirectory() as place:  # short, as a socket's path must be
        argv = [find_program("ssh-agent") or "ssh-agent", "-D", "-a", f"{place}/agent"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()  # it listens
            monkeypatch.setenv("SSH_AUTH_SOCK", f"{place}/agent")
            yield lambda key: subprocess.run(["ssh-add", "-q", key], check=True, capture_output=True)
            process.terminate()


@pytest.fixture
def certified(new_ssh: NewSSH, tmp_path: Path) -> SSHTestbed:
    """An sshd that lets nobody in but those whose key an authority has signed, as it has the user's."""
    keygen("-t", "ed25519", "-N", "", "-f", tmp_path / "authority")
    box = new_ssh(settings=(f"TrustedUserCAKeys {tmp_path}/authority.pub",))
    keygen("-s", tmp_path / "authority", "-I", "a test", "-n", user_name(), f"{box.key}.pub")
    (box.directory / "authorized_keys").write_text("")
    return box


@pytest.mark.parametrize("only", ["yes", "no"])
def test_a_key_that_the_agent_holds_and_whose_file_nobody_can_open(
    kind: str, only: str, new_ssh: NewSSH, agent: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    box = new_ssh()
    agent(box.new_key("another"))
    monkeypatch.setenv(
        "SLURMTASKS_SSH_CONFIG", str(box.write_config("agent", more=f"  IdentitiesOnly {only}\n  BatchMode yes"))
    )
    keygen("-p", "-P", "", "-N", "s3cret", "-f", box.key)
    assert not let_in(kind)
    keygen("-p", "-P", "s3cret", "-N", "", "-f", box.key)
    agent(box.key)
    keygen("-p", "-P", "", "-N", "s3cret", "-f", box.key)
    assert let_in(kind)


def test_a_key_that_is_not_here_at_all_but_in_the_agent(
    kind: str, new_ssh: NewSSH, agent: Callable[[Path], object]
) -> None:
    box = new_ssh()
    agent(box.key)
    box.key.unlink()  # what tells the agent's keys apart is the public one
    assert let_in(kind)


def test_a_certificate_beside_the_key(kind: str, certified: SSHTestbed) -> None:
    assert let_in(kind)
    certified.key.with_name("key-cert.pub").unlink()
    assert not let_in(kind)


def test_a_certificate_in_the_agent(kind: str, certified: SSHTestbed, agent: Callable[[Path], object]) -> None:
    agent(certified.key)
    certified.key.unlink()
    assert let_in(kind)


def test_a_key_counts_where_its_certificate_does_not(kind: str, new_ssh: NewSSH, tmp_path: Path) -> None:
    box = new_ssh()
    keygen("-t", "ed25519", "-N", "", "-f", tmp_path / "authority")
    keygen("-s", tmp_path / "authority", "-I", "a test", "-n", user_name(), f"{box.key}.pub")
    assert let_in(kind)
