"""What can go wrong between here and there: keys, shells, and connections that break at any point."""

from __future__ import annotations

import contextlib
import os
import pickle
import pwd
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from slurm import Cluster, JobContext, task
from slurm.errors import ConnectionLost, TransportError
from slurm.plugins import plugin
from slurm.storage import download
from slurm.transports import remote
from slurm.transports.archive import IN_MEMORY
from slurm.transports.base import Transport
from slurm.transports.openssh import OpenSSHTransport
from slurm.transports.remote import RemoteTransport
from slurm.url import ClusterURL
from testbed import SlurmTestbed, SSHTestbed
from testbed.config import is_listening
from waiting import until

NewSSH = Callable[..., SSHTestbed]
Account = Callable[..., pwd.struct_passwd]
BOTH = pytest.mark.parametrize("kind", ["openssh", "paramiko"])
SOON = 30.0
"""Seconds: an error at once takes one or two, and this machine may be busy."""


def transport_to(kind: str, where: str = "box", *, login_shell: bool = False) -> Transport:
    url = ClusterURL.parse(f"slurm+{kind}://{where}")
    transport: Transport = plugin("transports", url.transport).from_url(url, login_shell=login_shell)
    return transport


def refusal(kind: str, where: str = "box") -> str:
    """The error of a first connection, which comes soon and says what was tried."""
    begin = time.monotonic()
    with pytest.raises(TransportError) as caught:
        transport_to(kind, where).run(["true"])
    assert time.monotonic() - begin < SOON
    assert f"{where} cannot be reached: " in str(caught.value)
    assert f"ssh -F {os.environ['SLURMTASKS_SSH_CONFIG']} {where}" in str(caught.value) or kind == "paramiko"
    assert "the command was: true" not in str(caught.value)
    return str(caught.value)


# What keeps one out.


@BOTH
def test_unknown_host_key_is_rejected_with_advice(kind: str, new_ssh: NewSSH) -> None:
    box = new_ssh()
    box.known_hosts.write_text("")
    assert "its host key is unknown" in refusal(kind)
    assert "Run `ssh box` once" in refusal(kind)
    assert box.known_hosts.read_text() == ""


@BOTH
def test_changed_host_key_is_rejected_with_a_warning(kind: str, new_ssh: NewSSH) -> None:
    box = new_ssh()
    box.known_hosts.write_text("")
    box.new_key("other")
    box.trust(box.port, "other")
    before = box.known_hosts.read_text()
    assert "its host key has changed" in refusal(kind)
    assert box.known_hosts.read_text() == before


@BOTH
def test_closed_port_is_a_transport_error(kind: str, new_ssh: NewSSH) -> None:
    box = new_ssh()
    box.sshd.kill()
    assert "the connection was refused" in refusal(kind)


@BOTH
def test_missing_host_is_a_transport_error(kind: str, new_ssh: NewSSH) -> None:
    new_ssh()
    assert "the host name is unknown" in refusal(kind, "no-such-host.invalid")


@BOTH
def test_rejected_key_is_a_transport_error(kind: str, new_ssh: NewSSH) -> None:
    box = new_ssh()
    (box.directory / "authorized_keys").write_text("")
    assert "rejects the user or the key" in refusal(kind)


@BOTH
def test_private_key_readable_by_others_is_rejected(kind: str, new_ssh: NewSSH) -> None:
    box = new_ssh()
    box.key.chmod(0o644)
    words = refusal(kind)
    assert "other users can read the private key" in words
    assert "chmod 600" in words
    assert str(box.key) in words


def test_host_cannot_be_an_option_of_ssh(new_ssh: NewSSH, tmp_path: Path) -> None:
    new_ssh()
    with pytest.raises(TransportError):
        transport_to("openssh", f"-oProxyCommand=touch${{IFS}}{tmp_path.name}").run(["true"])
    assert not Path(tmp_path.name).exists()


@pytest.mark.parametrize("name", ["a b", "per%cent", "x" * 70])
def test_directory_unusable_for_sockets_is_named(
    name: str, new_ssh: NewSSH, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_ssh()
    monkeypatch.setenv("SLURMTASKS_LOCAL_DIR", str(tmp_path / name))
    with pytest.raises(TransportError, match=rf"socket in {tmp_path}/{name}/ssh: set SLURMTASKS_LOCAL_DIR"):
        transport_to("openssh").run(["true"])
    assert not (tmp_path / name).exists()


# Ways to get there.


@BOTH
def test_proxy_jump_and_include_of_the_configuration_apply(
    kind: str, new_ssh: NewSSH, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = new_ssh()
    hop = box.config.read_text().replace("Host box", "Host hop")
    included = box.directory / "included"
    included.write_text(hop)
    config = box.write_config("jumping", more="  ProxyJump hop")
    config.write_text(f"Include {included}\n{config.read_text()}")
    monkeypatch.setenv("SLURMTASKS_SSH_CONFIG", str(config))
    transport = transport_to(kind)
    assert transport.run(["echo", "here"]).stdout == "here\n"
    transport.close()


NOISE = "echo Welcome to the machine; echo; echo 'no\tnewline at the end' | tr -d '\\n'"


@BOTH
@pytest.mark.parametrize("shell", ["bash", "tcsh", "fish", "dash"])
@pytest.mark.parametrize("login", [False, True])
def test_any_login_shell_works_with_any_output_of_its_rc_file(
    kind: str, shell: str, login: bool, account: Account, new_ssh: NewSSH
) -> None:
    user = account(shell, f"{NOISE}\nls /nowhere\n")
    banner = Path(user.pw_dir, "banner")
    banner.write_text("Unauthorized use is prohibited\n")
    new_ssh(user=user.pw_name, settings=(f"Banner {banner}",))
    transport = transport_to(kind, login_shell=login)
    odd = ["it's", 'a "b"', "$HOME", "a\\b", "!x", "*", "line\nline", "ü", ""]
    done = transport.run(["printf", r"<%s>\n", *odd], stdin=b"unread")
    assert done.stdout == "".join(f"<{word}>\n" for word in odd)
    assert done.stderr == ""
    data = bytes(range(256)) * 1000
    transport.put(f"{user.pw_dir}/a place", {"it's": data})
    assert transport.get([f"{user.pw_dir}/a place/it's"], private=True) == {f"{user.pw_dir}/a place/it's": data}
    assert transport.list([f"{user.pw_dir}/a place"]) == {f"{user.pw_dir}/a place": ["it's"]}
    assert transport.run(["sh", "-c", "exit 7"]).status == 7
    transport.close()


@BOTH
def test_login_shell_has_the_path_of_the_profile(kind: str, account: Account, new_ssh: NewSSH) -> None:
    user = account("dash", "PATH=$PATH:$HOME/tools; export PATH")
    tool = Path(user.pw_dir, "tools", "only-in-login-shells")
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho found\n")
    tool.chmod(0o755)
    new_ssh(user=user.pw_name)
    assert transport_to(kind).run([tool.name]).status == 127
    assert transport_to(kind, login_shell=True).run([tool.name]).stdout == "found\n"


@BOTH
def test_account_without_a_shell_is_an_error_with_its_message(kind: str, account: Account, new_ssh: NewSSH) -> None:
    user = account("nologin", "")
    new_ssh(user=user.pw_name)
    with pytest.raises(TransportError, match="not available"):
        transport_to(kind).list(["/"])


@BOTH
@pytest.mark.parametrize("login", [False, True])
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("cat > /dev/null", "reads standard input"),
        ("read -r line", "reads standard input"),
        ("exit 0", "ended with status 0"),
        ("echo the key has expired; exit 3", "the key has expired"),
        ("exec sh", "starts another shell"),
        ("exec true", "ended with status 0"),
    ],
)
def test_startup_file_that_keeps_commands_from_running_is_named(
    kind: str, login: bool, line: str, words: str, account: Account, new_ssh: NewSSH
) -> None:
    user = account("bash", "")
    for name in (".profile", ".bash_profile") if login else (".bashrc",):
        Path(user.pw_dir, name).write_text(f"{line}\n")
    new_ssh(user=user.pw_name)
    written = Path(user.pw_dir, "written")
    with pytest.raises(TransportError, match=words) as caught:
        transport_to(kind, login_shell=login).run(["sh"], stdin=f"touch {written}\n".encode())
    assert "box runs no commands" in str(caught.value)
    assert "startup file" in str(caught.value)
    assert not written.exists()


# Settings of the user.


def test_ssh_settings_that_suit_other_uses_change_nothing(
    new_ssh: NewSSH, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    box = new_ssh()
    if b"stdinnull" not in subprocess.run(["ssh", "-G", "box"], capture_output=True, check=False).stdout:
        pytest.skip("this ssh has no StdinNull")
    more = "  StdinNull yes\n  SessionType none\n  ForkAfterAuthentication yes"
    monkeypatch.setenv("SLURMTASKS_SSH_CONFIG", str(box.write_config("other", more=more)))
    transport = transport_to("openssh")
    assert transport.run(["cat"], stdin=b"arrives").stdout == "arrives"
    transport.close()


@pytest.fixture
def master(new_ssh: NewSSH, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Commands to the user's own master, such as `check`. It is connected; new connections are not accepted."""
    box = new_ssh()
    with TemporaryDirectory() as directory:  # short, because it holds a socket
        config = box.write_config(
            "mine", more=f"  ControlMaster auto\n  ControlPath {directory}/%C\n  ControlPersist yes"
        )
        ssh = ["ssh", "-F", str(config)]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([*ssh, "-fN", "box"], check=True, **streams)  # type: ignore[call-overload]
        monkeypatch.setenv("SLURMTASKS_SSH_CONFIG", str(config))
        key = box.key.read_text()
        box.key.unlink()
        yield lambda word: subprocess.run([*ssh, "-O", word, "box"], capture_output=True, check=False).returncode
        box.key.write_text(key)
        subprocess.run([*ssh, "-O", "exit", "box"], capture_output=True, check=False)


def test_control_master_of_the_user_is_used_and_stays(master: Callable[[str], int]) -> None:
    transport = transport_to("openssh")
    assert transport.run(["cat"], stdin=b"arrives").stdout == "arrives"
    transport.close()
    assert master("check") == 0
    assert transport.run(["echo", "again"]).stdout == "again\n"
    assert master("exit") == 0
    with pytest.raises(TransportError):
        transport.run(["true"])


def test_connect_timeout_leaves_time_to_answer_a_jump_host(new_ssh: NewSSH, monkeypatch: pytest.MonkeyPatch) -> None:
    box = new_ssh()
    limits = {}
    for more in ("", "  ProxyJump hop", "  ProxyCommand nc %h %p", "  ConnectTimeout 90", "  ProxyJump none"):
        monkeypatch.setenv("SLURMTASKS_SSH_CONFIG", str(box.write_config("box", more=more)))
        transport = transport_to("openssh")
        assert isinstance(transport, OpenSSHTransport)
        transport._read_settings()
        limits[more.strip()] = [bool(transport._connect_timeout(attended=attended)) for attended in (True, False)]
    assert limits == {
        "": [True, True],
        "ProxyJump hop": [False, True],
        "ProxyCommand nc %h %p": [False, True],
        "ConnectTimeout 90": [False, False],
        "ProxyJump none": [True, True],
    }


# Connections that break.


def _break_when(there: Path, box: SSHTestbed) -> None:
    until(there.exists)
    box.kill_connections()


@BOTH
def test_interrupted_command_is_not_repeated_and_the_next_reconnects(
    kind: str, new_ssh: NewSSH, tmp_path: Path
) -> None:
    box = new_ssh()
    transport = transport_to(kind)
    transport.run(["true"])
    begun = tmp_path / "begun"
    breaking = threading.Thread(target=_break_when, args=(begun, box))
    breaking.start()
    with pytest.raises(ConnectionLost, match=r"(?s)the connection to box broke.*echo x >>"):
        transport.run(["sh", "-c", 'echo x >> "$0"; exec sleep 60', str(begun)])
    breaking.join()
    assert transport.run(["cat", str(begun)]).stdout == "x\n"
    transport.close()


@BOTH
@pytest.mark.parametrize("victim", ["connections", "proxy"])
def test_interrupted_transfer_starts_again_and_is_complete(
    kind: str, victim: str, new_ssh: NewSSH, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = new_ssh()
    port, proxy = box.proxy(delay=0.05)
    box.trust(port)
    monkeypatch.setenv("SLURMTASKS_SSH_CONFIG", str(box.write_config("far", port=port)))
    transport = transport_to(kind)
    data = os.urandom(1 << 20) * 64
    cut = threading.Event()

    def break_it() -> None:
        if victim == "connections":
            box.kill_connections()
        else:
            proxy.kill()
            time.sleep(1)
            proxy.start()
        cut.set()

    (tmp_path / "big").write_bytes(data)
    transport.run(["true"])
    breaking = threading.Timer(0.4, break_it)
    breaking.start()
    received = transport.get([str(tmp_path / "big")], private=True)
    in_time = cut.is_set()
    breaking.join()
    assert received == {str(tmp_path / "big"): data}
    breaking = threading.Timer(0.4, break_it)
    breaking.start()
    transport.put(str(tmp_path / "there"), {"big": data})
    breaking.join()
    assert (tmp_path / "there" / "big").read_bytes() == data
    assert in_time
    until(lambda: os.listdir(tmp_path / "there") == ["big"])  # what the first try left unfinished is taken away
    transport.close()


def test_transfer_starts_again_before_the_server_notices_the_interruption(
    new_ssh: NewSSH, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RemoteTransport, "alive_seconds", 1)
    box = new_ssh()
    (port, proxy), (other, _) = box.proxy(), box.proxy()
    for each in (port, other):
        box.trust(each)
    monkeypatch.setenv("SLURMTASKS_SSH_CONFIG", str(box.write_config("far", port=port)))
    transport = transport_to("openssh")
    transport.run(["true"])
    there = tmp_path / "there"

    def go_away() -> None:
        until(lambda: there.exists() and os.listdir(there))
        proxy.pause()
        box.write_config("far", port=other)

    going = threading.Thread(target=go_away)
    going.start()
    data = os.urandom(1 << 20) * 64
    transport.put(str(there), {"big": data})
    going.join()
    assert (there / "big").read_bytes() == data
    until(lambda: len(os.listdir(there)) == 2)  # what the first one has begun, too, which still waits for the rest
    proxy.resume()
    until(lambda: os.listdir(there) == ["big"])
    transport.close()


@task
def megabytes(count: int) -> bytes:
    return os.urandom(1 << 20) * count


def _arriving() -> bool:
    """Whether a large file is on its way to this process: it has one without a name, and it has begun to grow."""
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # others come and go
            if "(deleted)" in os.readlink(path) and path.stat().st_size > IN_MEMORY:
                return True
    return False


@BOTH
def test_interrupted_large_result_is_complete_and_in_memory_once(
    kind: str, new_ssh: NewSSH, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = new_ssh(environment={"PATH": os.environ["PATH"], "SLURMTASKS_LOCAL_DIR": os.environ["SLURMTASKS_LOCAL_DIR"]})
    port, _ = box.proxy(delay=0.1)
    box.trust(port)
    monkeypatch.setenv("SLURMTASKS_SSH_CONFIG", str(box.write_config("far", port=port)))
    cuts: list[float] = []

    def cut() -> None:
        until(_arriving)
        box.kill_connections()
        cuts.append(time.monotonic())

    with Cluster(f"local+{kind}://box", root=root) as cluster:
        job = megabytes(64)
        until(job.done)
        cutting = threading.Thread(target=cut)
        cutting.start()
        tracemalloc.start()
        result = job.result(100)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        arrived = time.monotonic()
        cutting.join()
        cluster.close()
    saved = pickle.loads(Path(job.directory, "results", "0.pkl").read_bytes())
    assert result == saved
    assert cuts[0] < arrived
    assert peak < 1.5 * len(result)


@task
def leave_file(index: int, ctx: JobContext | None = None) -> None:
    assert ctx is not None
    (ctx.output_directory() / "data").write_bytes(os.urandom(1 << 20) * 12 + b"%d" % index)


@BOTH
@pytest.mark.parametrize("victim", ["connection", "host"])
def test_fetch_over_a_connection_that_is_cut_goes_on_with_the_parts_that_are_missing(
    kind: str,
    victim: str,
    new_ssh: NewSSH,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(download, "PART_BYTES", 16 << 20)  # one file
    monkeypatch.setattr(remote, "_RETRY_SECONDS", 2.0 if victim == "host" else 60.0)
    box = new_ssh(environment={"PATH": os.environ["PATH"], "SLURMTASKS_LOCAL_DIR": os.environ["SLURMTASKS_LOCAL_DIR"]})
    port, _ = box.proxy(delay=0.1)
    box.trust(port)
    monkeypatch.setenv("SLURMTASKS_SSH_CONFIG", str(box.write_config("far", port=port)))
    to, cuts, sent = root.parent / "here", list[int](), list[list[str]]()

    def cut() -> None:
        until((to / "1" / "data").exists)
        until(_arriving)
        box.sshd.pause()
        box.kill_connections()
        if victim == "host":
            box.sshd.kill()
        cuts.append(len(list(to.rglob("data"))))
        box.sshd.resume()

    with Cluster(f"local+{kind}://box", root=root) as cluster:
        array = leave_file.map(range(4))
        until(array.done)
        fetch = cluster.place.transport.fetch

        def watched(paths: list[str]) -> object:
            sent.append(paths)
            return fetch(paths)

        cutting = threading.Thread(target=cut)
        cutting.start()
        try:
            array.fetch(to=to, wait=False)
            trouble = ""
        except TransportError as error:
            trouble = str(error)
        cutting.join()
        assert (bool(trouble), 2 <= cuts[0] < 4) == (victim == "host", True)
        assert trouble or "the connection to box broke" in caplog.text
        written = {path.relative_to(to): path.stat() for path in to.rglob("*") if path.is_file()}
        assert {status.st_size for status in written.values()} == {(12 << 20) + 1}  # none is half written
        if trouble:
            assert len(written) == cuts[0]
            box.sshd.start()
            until(lambda: is_listening(box.port))
            monkeypatch.setattr(cluster.place.transport, "fetch", watched)
            array.fetch(to=to, wait=False)
            missing = [
                f"{array.directory}/work/{index}/data" for index in range(4) if Path(f"{index}/data") not in written
            ]
            assert sent == [[path] for path in missing]
            assert {path: (to / path).stat().st_ino for path in written} == {p: s.st_ino for p, s in written.items()}
        cluster.close()
    for index in range(4):
        assert (to / f"{index}/data").read_bytes() == Path(array.directory, f"work/{index}/data").read_bytes()
    assert sorted(path.name for path in to.rglob("*") if path.is_file()) == ["data"] * 4


@BOTH
def test_large_file_without_room_on_the_client_is_an_error(kind: str, new_ssh: NewSSH, tmp_path: Path) -> None:
    new_ssh()
    (tmp_path / "big").write_bytes(bytes(2 * IN_MEMORY))
    transport = transport_to(kind)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (IN_MEMORY, before[1]))
    try:
        with pytest.raises(TransportError, match=r"cannot hold the received files \(File too large\): set TMPDIR"):
            transport.get([str(tmp_path / "big")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert transport.run(["echo", "on"]).stdout == "on\n"
    transport.close()


INTERRUPTED = """\
import contextlib, signal, sys, time
from slurm.plugins import plugin
from slurm.storage import download
from slurm.transports import remote
from slurm.url import ClusterURL

def interrupt(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
url = ClusterURL.parse(f"slurm+{sys.argv[1]}://box")
transport = plugin("transports", url.transport).from_url(url)
transport.run(["true"])
for _ in range(4):
    with contextlib.suppress(KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        transport.run(["sleep", "60"])
    time.sleep(1)
print(transport.run(["echo", "in"]).stdout)
"""


@BOTH
def test_connection_works_after_interrupts_while_commands_start(
    kind: str, new_ssh: NewSSH, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = new_ssh(settings=("MaxSessions 3",))
    port, _ = box.proxy(delay=0.1)  # an interrupt comes before the other side has said that there is a session
    box.trust(port)
    monkeypatch.setenv("SLURMTASKS_SSH_CONFIG", str(box.write_config("far", port=port)))
    argv = [sys.executable, "-c", INTERRUPTED, kind]
    assert subprocess.run(argv, capture_output=True, text=True, check=True, timeout=90).stdout == "in\n\n"


def test_killed_ssh_master_is_replaced(new_ssh: NewSSH) -> None:
    new_ssh()
    transport = transport_to("openssh")
    transport.run(["true"])
    argv = [*transport._ssh(), "-O", "check", "box"]  # type: ignore[attr-defined]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stderr
    master = int(said.partition("pid=")[2].partition(")")[0])
    os.kill(master, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{master}").exists())
    assert transport.run(["echo", "again"]).stdout == "again\n"
    transport.close()


@task
def slowly(seconds: float, log: str) -> float:
    with open(log, "a") as file:
        file.write("ran\n")
    time.sleep(seconds)
    return seconds


@BOTH
@pytest.mark.slurm
@pytest.mark.parametrize("outage", ["frozen", "frozen for long", "broken"])
def test_network_outage_delays_results_and_queues_nothing_twice(  # noqa: PLR0917 - fixtures
    kind: str,
    outage: str,
    new_ssh: NewSSH,
    slurm_env: SlurmTestbed,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    box = new_ssh(environment=slurm_env.env)
    port, proxy = box.proxy()
    if outage == "frozen for long":  # than a connection is kept without a sign of life, and a new one is tried
        monkeypatch.setattr(RemoteTransport, "alive_seconds", 1)
        monkeypatch.setattr(RemoteTransport, "connect_seconds", 1)
    box.trust(port)
    monkeypatch.setenv("SLURMTASKS_SSH_CONFIG", str(box.write_config("through", port=port)))
    ran = tmp_path / "ran"
    with Cluster(f"slurm+{kind}://box", root=root) as cluster:
        first = slowly(0.0, str(ran))
        assert first.result(60) == 0.0
        waiting = slowly(2.0, str(ran))
        _take_away(proxy, outage)
        submitted: list[float] = []
        submitting = threading.Thread(target=lambda: submitted.append(slowly.on(cluster)(0.1, str(ran)).result(100)))
        submitting.start()
        if outage == "frozen":
            time.sleep(3)
        else:
            until(lambda: "box cannot be reached" in caplog.text)
        _bring_back(proxy, outage)
        assert waiting.result(100) == 2.0
        submitting.join(100)
        assert submitted == [0.1]
        cluster.close()
    assert ran.read_text() == "ran\n" * 3


def _take_away(proxy: object, outage: str) -> None:
    proxy.pause() if "frozen" in outage else proxy.kill()  # type: ignore[attr-defined]


def _bring_back(proxy: object, outage: str) -> None:
    proxy.resume() if "frozen" in outage else proxy.start()  # type: ignore[attr-defined]


@BOTH
@pytest.mark.slurm
def test_connection_lost_during_sbatch_submits_once(
    kind: str, new_ssh: NewSSH, slurm_env: SlurmTestbed, root: Path, tmp_path: Path
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    sbatch = shutil.which("sbatch")
    # The real sbatch, with time to be cut off after it has queued the job and before it has told its id.
    (tools / "sbatch").write_text(
        f'#!/bin/sh\nid=$({sbatch} "$@") || exit\nif mkdir {tmp_path}/queued; then sleep 20; fi\necho "$id"\n'
    )
    (tools / "sbatch").chmod(0o755)
    box = new_ssh(environment={**slurm_env.env, "PATH": f"{tools}:{slurm_env.env['PATH']}"})
    breaking = threading.Thread(target=_break_when, args=(tmp_path / "queued", box))
    breaking.start()
    ran = tmp_path / "ran"
    with Cluster(f"slurm+{kind}://box", root=root) as cluster:
        assert slowly(0.0, str(ran)).result(100) == 0.0
        cluster.close()
    breaking.join()
    assert ran.read_text() == "ran\n"


def test_incomplete_file_on_a_full_disk_is_not_moved_into_place(new_ssh: NewSSH, root: Path, tmp_path: Path) -> None:
    # Stands for a file system that tells only at fsync(2) that it has no room, as a network's may.
    (sync := tmp_path / "sync").write_text('#!/bin/sh\necho "sync: $*: No space left on device"; exit 1\n')
    sync.chmod(0o755)
    new_ssh(environment={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    with pytest.raises(TransportError, match="cannot be written on box"):
        transport_to("openssh").put(str(root), {"a/one": b"1", "two": b"2"}, directories=["a"])
    assert [path for path in root.rglob("*") if path.is_file()] == []
    sync.unlink()
    transport_to("openssh").put(str(root), {"a/one": b"1", "two": b"2"}, directories=["a"])
    assert sorted(path.name for path in root.rglob("*") if path.is_file()) == ["one", "two"]
