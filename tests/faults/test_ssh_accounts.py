"""What isn't as it has to be over there: logins that ask, full disks, roots, programs. One clear error, and soon."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slurm import Cluster, task
from slurm.errors import PythonNotFound, SchedulerNotFound, TransportError
from testbed import SSHTestbed
from testbed.programs import find_program

NewSSH = Callable[..., SSHTestbed]
Account = Callable[..., pwd.struct_passwd]
BOTH = pytest.mark.parametrize("kind", ["openssh", "paramiko"])
SOON = 30.0
"""Seconds: an error at once takes one or two, and this machine may be busy."""

# Logins that ask, and somebody who answers.

AT_A_TERMINAL = """\
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from slurm.plugins import plugin
from slurm.url import ClusterURL
url = ClusterURL.parse(sys.argv[1])
transport = plugin("transports", url.transport).from_url(url)
print("user:", transport.run(["id", "-un"]).stdout)
print("user:", transport.run(["id", "-un"]).stdout)
transport.close()
"""


def typed(kind: str, answer: str) -> str:
    """What a program at a terminal of its own shows that runs two commands, where whatever it asks is answered."""
    ours, theirs = os.openpty()
    argv = [sys.executable, "-c", AT_A_TERMINAL, f"slurm+{kind}://box"]
    with subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        shown = ""
        try:
            while data := os.read(ours, 1000).decode():
                shown += data
                if data.rstrip().endswith(":") and "user:" not in data:
                    os.write(ours, f"{answer}\n".encode())
        except OSError:  # how a terminal ends on Linux
            pass
        finally:
            os.close(ours)
            process.kill()
    return shown


@BOTH
@pytest.mark.parametrize("by", ["PasswordAuthentication", "KbdInteractiveAuthentication"])
def test_a_password_is_asked_for_once_at_the_terminal(kind: str, by: str, account: Account, new_ssh: NewSSH) -> None:
    hashed = subprocess.run(["openssl", "passwd", "-6", "s3cret"], capture_output=True, text=True, check=True).stdout
    user = account("bash", password=hashed.strip())
    pam = "UsePAM yes" if by == "KbdInteractiveAuthentication" else "UsePAM no"
    box = new_ssh(user=user.pw_name, settings=(f"{by} yes", pam, "PubkeyAuthentication no"))
    shown = typed(kind, "s3cret")
    assert shown.count(f"user: {user.pw_name}") == 2, box.sshd.log_tail()
    assert shown.lower().count("password:") == 1
    assert "s3cret" not in shown


@BOTH
def test_the_passphrase_of_a_key_is_asked_for_once_and_only_where_there_is_somebody(kind: str, new_ssh: NewSSH) -> None:
    box = new_ssh()
    keygen = find_program("ssh-keygen") or "ssh-keygen"
    subprocess.run([keygen, "-q", "-p", "-P", "", "-N", "s3cret", "-f", box.key], check=True, capture_output=True)
    shown = typed(kind, "s3cret")
    assert shown.count(f"user: {pwd.getpwuid(os.getuid()).pw_name}") == 2
    assert shown.lower().count("passphrase") == 1
    with soon(TransportError, "doesn't accept the user or the key"):
        Cluster(f"slurm+{kind}://box").place.transport.run(["true"])


# Places and programs.


@contextmanager
def soon(kind: type[Exception], words: str) -> Iterator[None]:
    """An error of a kind with these words in it is raised within seconds."""
    begin = time.monotonic()
    with pytest.raises(kind, match=words):
        yield
    assert time.monotonic() - begin < SOON


@task
def length(data: bytes) -> int:
    return len(data)


@BOTH
def test_a_disk_that_fills_up_while_files_are_sent_is_told(kind: str, disk: Path, new_ssh: NewSSH) -> None:
    new_ssh(environment={"PATH": os.environ["PATH"], "SLURMTASKS_LOCAL_DIR": os.environ["SLURMTASKS_LOCAL_DIR"]})
    with Cluster(f"local+{kind}://box", root=disk) as cluster:
        with soon(TransportError, r"(?s)can't be written on box: .*No space left on device"):
            length(os.urandom(4_000_000))
        assert not [name for name in os.listdir(disk) if name.startswith(".")]
        assert length(b"abc").result(60) == 3
        cluster.close()


@BOTH
def test_a_root_that_cannot_be_made_is_named(kind: str, new_ssh: NewSSH, tmp_path: Path) -> None:
    new_ssh(environment={"PATH": os.environ["PATH"]})
    (tmp_path / "file").touch()
    with Cluster(f"local+{kind}://box", root=tmp_path / "file" / "jobs") as cluster:
        with soon(TransportError, rf"(?s){tmp_path}/file/jobs can't be written on box: .*mkdir"):
            length(b"abc")
        cluster.close()


@pytest.fixture
def few_programs(tmp_path: Path) -> Callable[..., str]:
    """Give a function that makes a PATH of this machine's programs but for those whose names begin with some words."""

    def make(*missing: str) -> str:
        place = tmp_path / "few"
        place.mkdir()
        for program in (path for directory in ("/usr/bin", "/bin") for path in Path(directory).iterdir()):
            if not program.name.startswith(missing) and not (place / program.name).exists():
                (place / program.name).symlink_to(program)
        return str(place)

    return make


@BOTH
def test_where_slurm_is_not_on_path_it_says_so_and_what_may_help(
    kind: str, few_programs: Callable[..., str], new_ssh: NewSSH, root: Path
) -> None:
    new_ssh(environment={"PATH": few_programs("sbatch", "squeue", "scontrol", "sacct")})
    with Cluster(f"slurm+{kind}://box", root=root) as cluster:
        with soon(SchedulerNotFound, r"sbatch.*login_shell"):
            length(b"abc")
        cluster.close()


@BOTH
@pytest.mark.parametrize("there", ["not found", "is Python 3.8"])
def test_where_there_is_no_python_or_another_it_says_which_one_is_needed(
    kind: str, there: str, new_ssh: NewSSH, root: Path, tmp_path: Path
) -> None:
    new_ssh(environment={"PATH": os.environ["PATH"]})
    python = tmp_path / "python3"
    if "3.8" in there:  # a stand-in: this machine may have one minor version of Python only
        python.write_text("#!/bin/sh\necho 3.8\n")
        python.chmod(0o755)
    with Cluster(f"local+{kind}://box", root=root, python=str(python)) as cluster:
        with soon(PythonNotFound, rf"no Python {'{}.{}'.format(*sys.version_info[:2])} there.*{python}:? {there}"):
            length(b"abc")
        cluster.close()
