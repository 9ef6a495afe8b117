"""Sanitizers: shown text has no control sequences, written text no secrets, and invalid numbers are rejected."""

from __future__ import annotations

import io
import json
import math
import re
import sys
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slurm.cli import output
from slurm.environments import installer
from slurm.sanitize.numbers import bounded, positive_seconds, seconds_to_wait, whole
from slurm.sanitize.redaction import has_password, redacted
from slurm.sanitize.terminal import for_json, for_line, for_stream, for_terminal, without_sequences

DANGEROUS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
PIECES = st.sampled_from(
    [
        "\x1b",
        "\x1b[",
        "\x1b]0;",
        "\x07",
        "\x9b",
        "31m",
        "[1;31m",
        "\x1b[38:2::1:2:3m",
        "\x1b\\",
        "\u202e",
        "\u2069",
        "\u200e",
        "\t",
        "a",
    ]
)
TEXTS = st.text() | st.lists(PIECES).map("".join)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@given(TEXTS)
@example("\x1b]52;c;ZXZpbA==\x07")
@example("\x1b\x1b[31m")
def test_a_terminal_receives_colours_and_no_other_control_character(text: str) -> None:
    assert not DANGEROUS.search(COLOUR.sub("", for_terminal(text)))
    assert COLOUR.findall(for_terminal(text)) == COLOUR.findall(text)
    assert not DANGEROUS.search(for_line(text))
    assert not set(for_line(text)) & set("\t\r\n")
    assert not DANGEROUS.search(without_sequences(text))
    assert for_terminal(for_terminal(text)) == for_terminal(text)


@given(TEXTS, st.lists(st.integers(0, 60)))
@example("a\x1b[31mé\n", [2, 7])
def test_a_log_in_blocks_is_shown_like_the_whole(text: str, cuts: list[int]) -> None:
    data, bounds = text.encode(), [0, *sorted(cuts), None]
    blocks = [data[low:high] for low, high in pairwise(bounds)]
    with pytest.MonkeyPatch.context() as patch, Terminal() as terminal:
        patch.setattr(sys, "stdout", terminal)
        output.show_bytes(iter(blocks))
        assert terminal.getvalue() == for_terminal(text)


@given(TEXTS)
def test_json_keeps_its_meaning_without_control_characters(text: str) -> None:
    shown = for_json(json.dumps({text: [text]}, ensure_ascii=False))
    assert json.loads(shown) == {text: [text]}
    assert not DANGEROUS.search(shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m\tand\r\n", "\x1b[1;31mred\x1b[0m\tand\r\n"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u202eb\u200e\u200f", "a\\u202eb\u200e\u200f"),
        *((chr(number), f"\\u{number:x}") for number in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))),
        ("\x1b[2J", r"\x1b[2J"),
    ],
)
def test_escapes_are_those_of_python(text: str, shown: str) -> None:
    assert for_terminal(text) == shown
    assert for_stream(text, Terminal()) == shown
    assert for_stream(text, io.StringIO()) == text


@pytest.mark.parametrize(
    "url",
    [
        "https://ann:SECRET@host/x",
        "https://ann:SEC/RET@host/x",
        "https://ann:SEC@RET@host/x",
        "https://SECRET@host/x",
        "git+https://SECRET@github.com/a/b@v1",
        "ssh://git:SECRET@host/x",
        "HTTP://:SECRET@host",
        "socks5h://ann:SECRET@[::1]:1080",
    ],
)
def test_the_password_of_a_url_is_removed_anywhere_in_a_text(url: str) -> None:
    assert has_password(url)
    for text in (url, f"error: can't reach '{url}', tried 3 times", f"{url}\n{url}"):
        assert "SEC" not in redacted(text)
        assert "RET" not in redacted(text)
    assert redacted(url).partition("@")[0].endswith("***")
    assert b"SEC" not in installer._PASSWORD.sub(rb"\1***@", url.encode())


@pytest.mark.parametrize(
    "text",
    [
        "git+https://github.com/a/b@v1.0",
        "https://host:8080/a@b",
        "ssh://git@host/x",
        "slurm+ssh://ann@login:22/x",
        "http://[::1]:80/x@y",
        "mail a@b, see https://host/ and c@d",
        "no url: a@b",
    ],
)
def test_text_that_is_not_a_password_is_kept(text: str) -> None:
    assert redacted(text) == text
    assert not has_password(text)


def test_a_token_in_a_query_is_removed() -> None:
    assert redacted("GET https://h/x?a=1&token=SECRET&b=2") == "GET https://h/x?a=1&token=***&b=2"


@given(st.lists(st.sampled_from(["://", "a", ":", "@", "/", "1", "'", "[", " "])).map("".join))
def test_any_text_has_no_password_after_redaction(text: str) -> None:
    assert not has_password(redacted(text)) or "***" in redacted(text)


def test_long_texts_are_redacted_in_bounded_time() -> None:
    begin = time.monotonic()
    redacted("https://" + "a:" * 20_000)
    redacted("://a:b" * 10_000)
    assert time.monotonic() - begin < 60


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [(None, None), (0, 0.0), (1.5, 1.5), (-1, 0.0), (-math.inf, 0.0), (math.inf, None), (1e300, None)],
)
def test_a_timeout_is_limited_to_what_threads_accept(timeout: float | None, seconds: float | None) -> None:
    assert seconds_to_wait(timeout) == seconds


def test_invalid_numbers_are_rejected_with_a_message() -> None:
    nan, inf = math.nan, math.inf
    wrong: list[tuple[Any, tuple[Any, ...]]] = [
        *((seconds_to_wait, (value,)) for value in (nan, "1")),
        *((positive_seconds, (value, "interval")) for value in (nan, inf, 0, -1, "x", None)),
        *((whole, (value, "limit")) for value in (nan, -1, 1.5, True, "1")),
    ]
    for check, arguments in wrong:
        with pytest.raises(ValueError, match=rf"^(timeout|interval|limit)={re.escape(repr(arguments[0]))}: expected a"):
            check(*arguments)
    for days in (nan, inf, -1, 101):
        with pytest.raises(ValueError, match="expected a number of days"):
            bounded(days, "days", most=100, unit="days")
    assert (whole(3, "n"), bounded(2, "days", most=100, unit="days")) == (3, 2.0)
