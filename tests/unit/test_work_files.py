"""Files of calls: patterns, and answers of a cluster that must not write elsewhere on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm.errors import ConfigurationError, ConnectionLost, ProtocolError, TransportError
from slurm.storage.download import Download, download
from slurm.storage.patterns import Pattern
from slurm.storage.work_files import WorkFile, list_files
from slurm.transports.base import Completed
from slurm.transports.local import LocalTransport

MATCHES = [
    ("a.h5", "a.h5", True),
    ("*.h5", "a.h5", True),
    ("*.h5", "out/a.h5", False),
    ("out/*.h5", "out/a.h5", True),
    ("./out//*.h5", "out/a.h5", True),
    ("out/*.h5", "out/in/a.h5", False),
    ("*/a.h5", "out/a.h5", True),
    ("**/a.h5", "a.h5", True),
    ("**/a.h5", "x/y/a.h5", True),
    ("x/**/a.h5", "x/a.h5", True),
    ("x/**/a.h5", "y/a.h5", False),
    ("**", "x/y/a.h5", True),
    ("x/**", "x/y/a.h5", True),
    ("**/**/**", "x/y", True),
    ("x/", "x/y/a.h5", True),
    ("x/", "x", False),
    ("x", "x/y", False),
    ("a?.h5", "ab.h5", True),
    ("a?b", "a/b", False),
    ("[ab]", "b", True),
    ("[!a]", "/", False),
    ("A", "a", False),
    ("a\n*", "a\nb", True),
    ("$(touch x)", "$(touch x)", True),
    ("a.b", "axb", False),
]


@pytest.mark.parametrize(("pattern", "name", "expected"), MATCHES)
def test_a_pattern_matches_names_as_a_shell_would(pattern: str, name: str, expected: bool) -> None:
    assert Pattern(pattern).matches(name) is expected


@pytest.mark.parametrize("pattern", ["", "/", "..", "../a", "a/../../b", "/etc/passwd", "a/..", "a\0b", ".", 3, None])
def test_a_pattern_that_leads_out_or_is_empty_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigurationError, match="pattern"):
        Pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "names", "message"),
    [
        ("words.txt", ["attempt-1/stdout.log", "attempt-1/words.txt"], "attempt-1/words.txt: write '**/words.txt'"),
        ("plots/*.png", ["a/plots/1.png"], "a/plots/1.png: write '**/plots/*.png'"),
        ("x", ["a", "b", "b", "c", "d", "e", "f"], "a, b, c, d, e, …"),
        ("x", [], "none"),
    ],
)
def test_a_message_says_how_to_name_the_file_of_a_subdirectory(pattern: str, names: list[str], message: str) -> None:
    assert Pattern(pattern).no_match(names) == f"no file that matches {pattern!r}; it has {message}"


NAMES = st.lists(st.text(st.characters(exclude_characters="/\0*?["), min_size=1), min_size=1, max_size=4)


@given(parts=NAMES.filter({".", ".."}.isdisjoint))
def test_a_name_matches_itself_and_all_its_directories(parts: list[str]) -> None:
    name = "/".join(parts)
    assert Pattern(name).matches(name)
    assert Pattern(name).literal
    assert Pattern("**").matches(name)
    for at in range(1, len(parts)):
        assert Pattern("/".join(parts[:at]) + "/").matches(name)
        assert Pattern(f"{'/'.join(parts[:at])}/*").matches(name) is (at == len(parts) - 1)


class Answer(LocalTransport):
    """A cluster that answers each command with some bytes, as text or in hexadecimal."""

    def __init__(self, output: bytes | str, errors: str = "", *, losses: int = 0) -> None:
        self.output = output.hex() if isinstance(output, bytes) else output
        self.errors, self.losses = errors, losses

    def run(self, argv: object, *, stdin: bytes = b"", timeout: float | None = None) -> Completed:
        if self.losses:
            self.losses -= 1
            raise ConnectionLost("the connection broke")
        return Completed(("sh",), 0, self.output, self.errors)


@pytest.mark.parametrize(
    "name", [b"../../.bashrc", b"/etc/passwd", b"a/../../b", b"", b".", b"..", b"a//b", b"a/./b"], ids=repr
)
def test_a_name_that_leads_out_of_the_directory_is_refused(name: bytes) -> None:
    with pytest.raises(ProtocolError):
        list_files(Answer(b"f 1 1:2 /work/0/./" + name + b"\0end 0\0"), ["/work/0"])


def test_a_file_of_another_directory_is_refused() -> None:
    with pytest.raises(ProtocolError, match="/etc"):
        list_files(Answer(b"f 1 1:2 /etc/./passwd\0end 0\0"), ["/work/0"])


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x"])
def test_a_download_writes_below_its_target_only(tmp_path: Path, name: str) -> None:
    (tmp_path / "source").write_text("content")
    file = WorkFile("source", 7, str(tmp_path / "source"), "1")
    with pytest.raises(ProtocolError, match="refused"):
        download(LocalTransport(), [Download(file, name)], str(tmp_path / "here" / "deep"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


@pytest.mark.parametrize("output", ["", "no hexadecimal", b"f 1 1:2 /work/0/./a\0".hex(), b"\0".hex()])
def test_an_answer_that_was_cut_off_is_an_error(output: str) -> None:
    with pytest.raises(TransportError, match="cannot be listed"):
        list_files(Answer(output), ["/work/0"])


def test_a_directory_that_cannot_be_read_is_an_error_and_a_file_that_was_removed_is_not() -> None:
    gone = "find: '/work/0/./a': No such file or directory\nslurm-tasks-caches no\n"
    assert list_files(Answer(b"end 1\0", gone), ["/work/0"])[0].files == []
    with pytest.raises(TransportError, match="Permission denied"):
        list_files(Answer(b"end 1\0", f"{gone}find: '/work/0/./b': Permission denied\n"), ["/work/0"])


def test_a_listing_is_repeated_if_the_connection_breaks() -> None:
    answer = b"f 3 1:2 /work/0/./a\0end 0\0"
    assert list_files(Answer(answer, losses=2), ["/work/0"])[0].files[0].name == "a"
    with pytest.raises(ConnectionLost):
        list_files(Answer(answer, losses=3), ["/work/0"])


def test_no_directories_take_no_command() -> None:
    assert list_files(Answer("", losses=9), []) == []
