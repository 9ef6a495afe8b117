"""The files that a program needs: found and hashed on the client, checked and linked on the node."""

from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from slurm import command
from slurm.errors import SubmissionError, UntrustedFile
from slurm.runner.linked_files import LinkedFile, link_files
from slurm.storage import uploads
from slurm.storage.uploads import BlobStore, Uploads
from slurm.transports.local import LocalTransport


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "project"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> str:
    (tmp_path / "root" / "blobs").mkdir(parents=True, mode=0o700)
    return str(tmp_path / "root")


def upload(root: str, *paths: str) -> tuple[Uploads, tuple[LinkedFile, ...]]:
    """Send files as a submission does."""
    found = Uploads()
    files = found.add({path: path for path in paths}, task="fit")
    BlobStore(LocalTransport(), lambda: root).send(found)
    return found, files


def link(root: str, files: tuple[LinkedFile, ...], directory: Path) -> Path:
    directory.mkdir()
    link_files(root, files, str(directory))
    return directory


def test_files_are_linked_under_their_names_read_only(root: str, project: Path, tmp_path: Path) -> None:
    Path("sub").mkdir()
    Path("sub/data").write_bytes(b"x" * (1 << 21))  # too large to be kept in memory
    Path("run").write_text("#!/bin/sh\n")
    Path("run").chmod(0o700)
    _, files = upload(root, "run", "sub")
    there = link(root, files, tmp_path / "there")
    assert [(there / name).stat().st_mode & 0o777 for name in ("run", "sub/data")] == [0o555, 0o444]
    assert (there / "sub/data").read_bytes() == Path("sub/data").read_bytes()
    assert (there / "sub/data").stat().st_nlink == 2


def test_a_content_is_sent_once(root: str, project: Path) -> None:
    for name in ("a", "b"):
        Path(name).write_text("same")
    first = Uploads()
    first.add({"a": "a", "b": "b"}, task="fit")
    assert len(BlobStore(LocalTransport(), lambda: root).missing(first)) == 1
    again, _ = upload(root, "a")
    assert again.names == first.names
    assert BlobStore(LocalTransport(), lambda: root).missing(first) == {}


def test_a_file_is_read_once_for_one_submission(root: str, project: Path) -> None:
    Path("a").write_text("one")
    found = Uploads()
    first = found.add({"a": "a"}, task="fit")
    Path("a").write_text("two")
    assert found.add({"a": "a"}, task="fit") == first  # the digest of the call says "one"
    assert [found.contents[file.blob] for file in first] == [b"one"]


def test_a_large_file_is_hashed_again_only_if_it_has_changed(
    root: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_IN_MEMORY", 0)
    Path("a").write_text("one")
    _, first = upload(root, "a")
    Path("a").write_text("two")  # within the same moment, of the same size
    _, second = upload(root, "a")
    assert first[0].sha256 != second[0].sha256
    os.utime("a", (1, 1))
    _, third = upload(root, "a")
    monkeypatch.setattr("hashlib.sha256", None)
    assert upload(root, "a")[1] == third == second


def test_a_blob_that_was_changed_in_place_is_not_used_and_is_sent_again(
    root: str, project: Path, tmp_path: Path
) -> None:
    Path("a").write_text("right")
    _, files = upload(root, "a")
    there = link(root, files, tmp_path / "one")
    (there / "a").chmod(0o600)
    (there / "a").write_text("wrong")
    (there / "a").chmod(0o444)
    with pytest.raises(ValueError, match="the copy of a on the cluster is not the file that was sent"):
        link(root, files, tmp_path / "two")
    upload(root, "a")
    assert (link(root, files, tmp_path / "three") / "a").read_text() == "right"


def test_a_blob_that_others_could_have_written_is_not_used(root: str, project: Path, tmp_path: Path) -> None:
    Path("a").write_text("x")
    _, files = upload(root, "a")
    os.chmod(f"{root}/blobs/{files[0].blob}", 0o666)  # noqa: S103 - what this is about
    with pytest.raises(UntrustedFile):
        link(root, files, tmp_path / "there")


def test_where_links_are_not_possible_files_are_copied(
    root: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    Path("a").write_text("x")
    _, files = upload(root, "a")
    monkeypatch.setattr(os, "link", refuse)
    there = link(root, files, tmp_path / "there")
    assert ((there / "a").read_text(), (there / "a").stat().st_mode & 0o777) == ("x", 0o444)


@pytest.mark.parametrize("git", [True, False])
def test_of_a_directory_secrets_and_links_out_of_it_are_left_out_and_named(
    root: str, project: Path, git: bool, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("conf/a", "conf/.env", "conf/.env.local", "conf/ignored", "conf/.git/x", "conf/__pycache__/y", "out"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    Path("conf/link").symlink_to("../out")
    Path("conf/inside").symlink_to("a")
    if git:
        for name in ("x",):
            Path("conf/.git", name).unlink()
        Path("conf/.git").rmdir()
        Path("conf/.gitignore").write_text("ignored\n__pycache__\n")
        subprocess.run(["git", "init", "-q"], check=True)
    with caplog.at_level(logging.WARNING):
        _, files = upload(root, "conf")
    names = {file.name for file in files}
    expected = {"conf/a", "conf/inside"}
    assert names == (expected | {"conf/.gitignore"} if git else expected | {"conf/ignored"})
    assert "conf/.env, conf/.env.local, conf/link" in caplog.text


@pytest.mark.parametrize(
    ("path", "message"), [("nothing", "does not exist in"), ("pipe", "is not a regular file"), ("secret", "be read")]
)
def test_a_file_that_is_not_there_is_an_error_that_names_it(root: str, project: Path, path: str, message: str) -> None:
    os.mkfifo("pipe")
    Path("secret").touch(mode=0)
    if path == "secret" and os.geteuid() == 0:
        pytest.skip("root reads all files")
    with pytest.raises(SubmissionError, match=f"fit needs the file '{path}'.*{message}"):
        upload(root, path)


def test_a_word_that_is_a_path_of_a_file_here_is_one_of_the_files(root: str, project: Path) -> None:
    for name in ("train.py", "model.pt", "a{b", "tool", "conf"):
        Path(name).touch()
    found = Uploads()
    of = command("tool ./train.py model.pt a{{b {x} /etc/passwd ../project/conf nothing", products=["*.pt"])
    assert [file.name for file in of.to_send(found).files] == ["train.py", "a{b"]  # type: ignore[attr-defined]
    assert [file.name for file in command("./tool {x}").to_send(found).files] == ["tool"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "", ".", 5])
def test_a_path_outside_of_the_working_directory_is_an_error_at_the_definition(path: object) -> None:
    with pytest.raises(ValueError, match="is not a path below the working directory"):
        command("tool", files=[path])  # type: ignore[list-item]


def test_a_file_that_is_also_a_product_is_an_error() -> None:
    with pytest.raises(ValueError, match="'x' is in files and in products"):
        command("tool", files=["./x"], products=["x"])


def test_files_get_the_names_that_are_asked_for(root: str, project: Path, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "x").write_text("1")
    (outside / "y").write_text("2")
    found = Uploads()
    files = found.add({"conf": str(outside), "z": str(outside / "y")}, task="fit")
    assert sorted(file.name for file in files) == ["conf/deep/x", "conf/y", "z"]
    BlobStore(LocalTransport(), lambda: root).send(found)
    there = link(root, files, tmp_path / "there")
    assert (there / "conf/deep/x").read_text() == "1"
    assert (there / "z").read_text() == "2"


@pytest.mark.parametrize("template", ["python fitt.py", "python3.11 -u ./fitt.py {x}", "./fitt.py", "bash fitt.sh"])
def test_a_script_that_is_not_there_is_an_error_at_the_call(project: Path, template: str) -> None:
    Path("fit.py").touch()
    Path("fit.sh").touch()
    with pytest.raises(SubmissionError, match=r"needs the script 'fitt\.\w+', which is not in .*: did you mean 'fit\."):
        command(template).to_send(Uploads())


@pytest.mark.parametrize(
    ("template", "more"),
    [
        ("python /opt/fit.py", {}),
        ("python -c fit.py", {}),
        ("python -m fit.py", {}),
        ("python {script}", {}),
        ("python {case}.py", {}),
        ("tool --lang python fit.py", {}),
        ("python conf/fit.py", {"files": {"conf": "elsewhere"}}),
        ("python fit.py", {"files": {"fit.py": "elsewhere/other.py"}}),
        ("python fit.py > x", {"shell": True}),
    ],
)
def test_a_script_that_may_be_there_is_none(project: Path, template: str, more: dict[str, Any]) -> None:
    Path("elsewhere").mkdir()
    Path("elsewhere/other.py").touch()
    command(template, **more).to_send(Uploads())


def test_files_may_be_patterns(root: str, project: Path) -> None:
    for name in ("a.txt", "b.txt", "deep/c.txt", "x[1].dat"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    of = command("tool", files=["*.txt", "deep*", "x[1].dat"])
    found = [file.name for file in of.to_send(Uploads()).files]  # type: ignore[attr-defined]
    assert found == ["a.txt", "b.txt", "deep/c.txt", "x[1].dat"]
    with pytest.raises(SubmissionError, match=r"needs files that match '\*\.csv', and none in .* does"):
        upload(root, "*.csv")
