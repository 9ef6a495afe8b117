"""The search for the Slurmfile, and the trust in Slurmfiles of other users."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from slurm import Cluster
from slurm.cli.main import slurm
from slurm.errors import SlurmfileError
from slurm.slurmfile import load, trust
from slurm.slurmfile.sources import NAME, _upward, search, source

LOCAL = "default: a\nclusters: {a: {url: local}}\n"
NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file to another user")


@pytest.fixture(autouse=True)
def nothing_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none" / "config"))
    for name in ("SLURMFILE", "SLURMFILE_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory below the one that a test puts a Slurmfile into."""
    directory = tmp_path / "shared dir" / "work"
    directory.mkdir(parents=True)
    monkeypatch.chdir(directory)
    return directory


def planted(directory: Path, text: str = LOCAL, *, mode: int = 0o666) -> Path:
    """A Slurmfile that any user may write to, so that nobody knows whose it is."""
    path = directory / NAME
    path.write_text(text)
    path.chmod(mode)
    return path


def run(*argv: str) -> tuple[int, str]:
    done = CliRunner().invoke(slurm, argv)
    return done.exit_code, done.output + str(done.exception or "")


def test_slurmfile_writable_by_everybody_is_an_error_with_advice(work: Path) -> None:
    planted(work.parent.parent, mode=0o644)  # which is not used instead
    path = planted(work.parent)
    with pytest.raises(SlurmfileError) as caught:
        load()
    assert str(caught.value).startswith(f"{path} can be changed by every user (mode 0666).")
    assert f"chmod o-w '{path}'" in str(caught.value)
    assert f"slurm config trust '{path}'" in str(caught.value)
    path.chmod(0o664)
    assert load().url == "local"


@needs_root
def test_slurmfile_of_another_user_is_an_error(work: Path) -> None:
    path = planted(work.parent, mode=0o644)
    os.chown(path, NOBODY, NOBODY)
    with pytest.raises(SlurmfileError, match=r"belongs to the user nobody\. It is not used"):
        source()


def test_the_owner_of_the_file_counts_and_not_its_directory(work: Path) -> None:
    path = planted(work.parent, mode=0o644)
    work.parent.chmod(0o1777)
    assert source().path == path


def test_trusted_slurmfile_is_rejected_with_a_diff_after_a_change(work: Path) -> None:
    path = planted(work.parent)
    status, output = run("config", "trust", str(path))
    assert status == 0
    assert LOCAL in output
    assert load().url == "local"
    path.write_text(LOCAL.replace("url: local", "url: local, python: ~/evil"))
    with pytest.raises(SlurmfileError) as caught:
        load()
    told = str(caught.value)
    assert "has changed since you trusted it" in told
    assert "+clusters: {a: {url: local, python: ~/evil}}" in told
    status, output = run("config", "trust", "../Slurmfile")
    assert (status, "+clusters: {a: {url: local, python: ~/evil}}" in output) == (0, True)
    assert load().python == "~/evil"
    assert run("config", "trust", "--forget", str(path))[0] == 0
    with pytest.raises(SlurmfileError, match="is not used"):
        load()


def test_trust_records_are_private_with_any_umask(work: Path) -> None:
    path = planted(work.parent)
    before = os.umask(0o000)
    try:
        trust.add(path, path.read_bytes())
    finally:
        os.umask(before)
    (record,) = (trust.configuration() / "trusted").iterdir()
    modes = [stat.S_IMODE(at.stat().st_mode) for at in (record, *list(record.parents)[:4])]
    assert modes == [0o600, 0o700, 0o700, 0o700, 0o700]
    assert trust.is_trusted(path, path.read_bytes())
    record.chmod(0o666)
    assert not trust.is_trusted(path, path.read_bytes())
    record.write_text("{")
    record.chmod(0o600)
    assert trust.trusted_text(path) is None


def test_a_named_slurmfile_is_trusted(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = planted(work.parent)
    assert load(path=path).url == "local"
    assert run("config", "show", "--file", str(path))[0] == 0
    monkeypatch.setenv("SLURMFILE", str(path))
    assert load().url == "local"


def test_a_url_needs_no_search_for_a_slurmfile(work: Path, tmp_path: Path) -> None:
    planted(work.parent)
    assert Cluster().url == "local"
    assert run("config", "show", f"local://{tmp_path}")[0] == 0
    for argv in (
        ["config", "show"],
        ["jobs"],
        ["jobs", "a"],
        ["doctor"],
        ["envs", "list"],
        ["show", "a/b", "--on", "a"],
    ):
        status, output = run(*argv)
        assert (status, "slurm config trust" in output) == (1, True), argv


def test_the_search_ends_at_the_home_directory(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    above = planted(work.parent.parent, mode=0o644)
    assert source().path == above
    monkeypatch.setenv("HOME", str(work.parent))
    assert search() is None
    with pytest.raises(SlurmfileError, match="up to the home directory"):
        load()
    own = planted(work.parent, mode=0o644)
    assert source().path == own


def test_the_search_ends_at_the_root_of_the_file_system() -> None:
    found = [path for path in map(Path, ("/proc", "/dev/shm", "/dev")) if os.path.ismount(path)]  # noqa: S108
    if not found:
        pytest.skip("there is no other file system")
    assert list(_upward(found[0])) == [found[0]]


def test_directories_and_pipes_are_skipped_without_blocking(work: Path) -> None:
    above = planted(work.parent.parent, mode=0o644)
    (work / NAME).mkdir()
    os.mkfifo(work.parent / NAME)
    assert source().path == above
    (work / NAME).rmdir()
    (work / NAME).symlink_to("nowhere")
    assert source().path == above


def test_the_checked_content_is_the_used_content(work: Path) -> None:
    path = planted(work, mode=0o644)
    found = search()
    path.write_text("clusters: {}")
    assert found is not None
    assert found.data.decode() == LOCAL


def test_the_command_shows_a_refusal_as_one_message(work: Path) -> None:
    planted(work.parent)
    done = subprocess.run([sys.executable, "-m", "slurm", "jobs"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (1, "", False)
    assert "slurm config trust" in done.stderr


# What is no secret of the file's, and what is.


def test_values_of_variables_are_not_shown(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", f"{tmp_path}/S3CRET")
    path = planted(work, 'clusters: {a: {url: local, root: "$PLACE/jobs"}, b: {url: local, root: "${PLACE}\\\\x"}}')
    entry = load("a", path)
    assert entry.root == f"{tmp_path}/S3CRET/jobs"
    assert [setting.value for setting in entry.settings if setting.key == "root"] == ["$PLACE/jobs"]
    with pytest.raises(SlurmfileError, match="root ") as caught:
        load("b", path)
    assert "S3CRET" not in str(caught.value)


def test_urls_of_webhooks_and_passwords_are_not_shown(work: Path) -> None:
    path = planted(
        work,
        "clusters:\n  a:\n    url: local\n    setup: pip config set index https://ann:S3CRET@host/simple\n"
        "    callbacks:\n    - slurm.callbacks.WebhookCallback: {url: 'https://hooks.example/S3CRET', failures: yes}\n",
    )
    status, output = run("config", "show", "a", "--file", str(path))
    assert (status, "S3CRET" in output, "https://***" in output) == (0, False, True)
    path.write_text(
        path.read_text().replace("failures: yes", "timeout: -1").replace("slurm.callbacks.W", f"{__name__}.W")
    )
    with pytest.raises(SlurmfileError, match="can't be used") as caught:
        Cluster.from_slurmfile("a", path=path)
    assert "S3CRET" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


class WebhookCallback:
    """One of a user's own, whose error has what it was given."""

    def __init__(self, url: str, timeout: int) -> None:
        raise ValueError(f"{url} can't be used with {timeout}")


# YAML.


def nine_times(levels: int) -> str:
    lines = ["clusters:", "  a: {url: local, callbacks: [{a.b: {x: &n0 [1,1,1,1,1,1,1,1,1]}}]}"]
    for level in range(1, levels):
        nine = ",".join([f"*n{level - 1}"] * 9)
        lines.append(f"  c{level}: {{url: local, callbacks: [{{a.b: {{x: &n{level} [{nine}]}}}}]}}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (nine_times(9), "line 6: more than 10000 values, including those that aliases stand for"),
        ("clusters: {a: {url: local, modules: [" + "x," * 10_001 + "]}}", "line 1: more than 10000 values"),
        ("clusters: " + "[" * 5000, "line 1: values nested more than 50 levels deep"),
        ("a: &a " + "[" * 30 + "]" * 30 + "\nb: " + "[" * 30 + "*a" + "]" * 30, "line 2: values nested"),
        ("clusters: &a {a: *a}", r"line 1: a value contains itself through its alias \*a"),
        ("{&a b: c, " + ", ".join(f"k{n}: {{? *a : *a}}" for n in range(4000)) + "}", "more than 10000 values"),
    ],
)
def test_yaml_with_too_many_values_is_refused(work: Path, text: str, message: str) -> None:
    path = planted(work, text)
    with pytest.raises(SlurmfileError, match=message):
        load("a", path)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(work: Path) -> None:
    path = planted(work, LOCAL + "#" * 1_000_000, mode=0o644)
    for which in (path, None):
        with pytest.raises(SlurmfileError, match="larger than 1 MB"):
            load("a", which)


def test_anchors_and_aliases_work(work: Path) -> None:
    path = planted(
        work,
        "clusters:\n  a: {url: local, modules: &m [gcc, cuda], options: &o {mem: 1G}}\n"
        "  b: {url: slurm, modules: *m, options: *o}\n",
    )
    found = load("b", path)
    assert (found.modules, found.options.get("mem")) == (("gcc", "cuda"), "1G")


def test_a_long_chain_of_extended_clusters_is_read(work: Path) -> None:
    names = [f"c{number}" for number in range(2000)]
    lines = [f"  {name}: {{extends: {before}}}" for before, name in pairwise(names)]
    path = planted(work, "\n".join(["clusters:", "  c0: {url: local}", *lines]))
    assert load("c1999", path).url == "local"
