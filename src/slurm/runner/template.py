"""Template: the words of a command, with fields for values.

A template is split into words once, before values are known. So a value never becomes two words, and no shell parses a
value.
"""

from __future__ import annotations

import os

from slurm.protocol.records import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

OVERRIDES = "overrides"
"""The field for all arguments that have no field of their own. It becomes words `key=value`."""
SHELL_START = "set -euo pipefail\n"
"""The first line of a shell program: the program ends at a command that fails, or a variable that is not set."""
SCRIPTS = (".py", ".sh", ".R", ".jl", ".pl", ".rb")
"""The ends of the names of scripts."""
_PREFIX = "slurmtasks_"
_QUOTED = r"""\\.|'[^']*'|"(?:\\.|[^"\\])*\""""
_OPERATOR = r"\|[|&]?|&&?|;;?|\d*(?:<<?<?|>>?|>\||<>|[<>]&).*|&>>?.*|.*(?:\$\(|`).*"


class Template(Record):
    """The words of a command, each a format string; or the text of a shell program, with variables for values."""

    words: tuple[str, ...]
    """For a shell: the program, with variables in place of the fields, and then the format string of each field."""
    shell: bool = False

    @classmethod
    def parse(cls, text: str, *, shell: bool = False, instead: str = "run a shell, bash -c '…'") -> Template:
        """Split a template into words. Raises ValueError with the reason if the template is not valid.

        `instead` says what to write for a shell.
        """
        import shlex  # noqa: PLC0415 - it imports `re`, and only the process that defines a command needs it

        template = cls(words=tuple(_for_shell(text) if shell else shlex.split(text)), shell=shell)
        if not text.strip():
            raise ValueError("it is empty")
        if not shell:
            refuse_operators(text, instead)
        for word in template.words[1:] if shell else template.words:
            names = list(_fields(word))
            if OVERRIDES in names and word != f"{{{OVERRIDES}}}":
                raise ValueError(f"{{{OVERRIDES}}} stands for several words: write it as a word of its own")
        return template

    @property
    def fields(self) -> Sequence[str]:
        """The names of the fields, in the order of their first use."""
        words = self.words[1:] if self.shell else self.words
        return tuple(dict.fromkeys(name for word in words for name in _fields(word)))

    @property
    def fixed(self) -> Sequence[str]:
        """The words without fields, as the program gets them."""
        return () if self.shell else tuple(word.format() for word in self.words if not list(_fields(word)))

    def render(self, values: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
        """Return the words with values in place of the fields, and variables for the environment.

        Raises ValueError, with the name of the argument, for a value that a command cannot contain.
        """
        overrides = override_words(values.get(OVERRIDES) or {})
        named = {name: value for name, value in values.items() if name != OVERRIDES}
        for name, value in named.items():
            check_value(name, value)
        if not self.shell:
            rendered = [_each(word, named, overrides) for word in self.words]
            return [word for words in rendered for word in words], {}
        program, *formats = self.words
        variables = {
            f"{_PREFIX}{number}": _without_null(word.format_map(named))
            for number, word in enumerate(formats)
            if word != f"{{{OVERRIDES}}}"
        }
        return ["bash", "-c", SHELL_START + program, "bash", *overrides], variables


def refuse_operators(text: str, instead: str) -> None:
    """Raise ValueError if a word is an operator of a shell, and not quoted. `instead` says what to write."""
    import re  # noqa: PLC0415 - as in Template.parse
    import shlex  # noqa: PLC0415

    plain = re.sub(_QUOTED, lambda quoted: "_" * len(quoted[0]), text, flags=re.DOTALL)
    for found in re.finditer(r"\S+", plain):
        ends_command = found[0].endswith(";") and found.end() < len(plain.rstrip())
        if ends_command or re.fullmatch(_OPERATOR, found[0]):
            word = text[slice(*found.span())]
            raise ValueError(
                f"{word!r} is for a shell, and no shell reads this text: {instead}. To pass it to the program, quote "
                f"it: {shlex.quote(word)}"
            )


def check_value(name: str, value: Any) -> None:
    """Raise ValueError for a value that does not become one text, such as a list."""
    if value is None or isinstance(value, (bytes, list, tuple, dict, set, frozenset)):
        raise ValueError(
            f"argument {name} is {value!r:.80}, which is not one word. Pass a text, a number or a path. For several "
            "words, use a @command function, which returns a list of words"
        )


def fields_of(text: str) -> tuple[str, ...]:
    """Return the names of the fields in a format string. Raises ValueError."""
    return tuple(_fields(text))


def _each(word: str, values: Mapping[str, Any], overrides: Sequence[str]) -> Sequence[str]:
    return overrides if word == f"{{{OVERRIDES}}}" else [_without_null(word.format_map(values))]


def _without_null(text: str) -> str:
    if "\0" in text:
        raise ValueError(f"{text!r:.80} has a null character, which no program can receive")
    return text


def _fields(word: str) -> Iterator[str]:
    for _, field, spec, _ in _parsed(word):
        if field is None:
            continue
        name = field.partition(".")[0].partition("[")[0]
        if not name.isidentifier():
            shown = f"{{{field}}}"
            raise ValueError(f"field {shown} has no name: write {{name}}, or {{{{ }}}} for braces")
        yield name
        yield from _fields(spec or "")


def _parsed(word: str) -> Iterator[tuple[str, str | None, str | None, str | None]]:
    _string = __import__("_string")  # `string`, which re-exports it, imports `re`

    try:
        yield from _string.formatter_parser(word)
    except ValueError as error:
        raise ValueError(f"{word!r}: {error}. Write {{{{ and }}}} for braces that are not a field") from None


def _for_shell(text: str) -> Iterator[str]:
    """Yield a shell program with a variable in place of each field, and then the format string of each field.

    A value never becomes part of the program's text. Raises ValueError for a field within quotes: there, the
    variable would not be one word, or would not be replaced.
    """
    program, state = "", ""
    formats: list[str] = []
    for literal, field, spec, conversion in _parsed(text):
        program += literal
        state = _quotes(literal, state)
        if field is None:
            continue
        written = f"{field}{'!' + conversion if conversion else ''}{':' + spec if spec else ''}"
        if state:
            raise ValueError(
                f"field {{{written}}} stands within quotes ({state}). Write it outside of them: its value is quoted"
            )
        if written == OVERRIDES:
            program += '"$@"'
        else:
            program += f'"${{{_PREFIX}{len(formats)}}}"'
        formats.append(f"{{{written}}}")
    yield program
    yield from formats


def _quotes(text: str, state: str) -> str:
    """Return the open quote at the end of a part of a shell program; `state` is the open quote at its start."""
    escaped = False
    for position, character in enumerate(text):
        if escaped:
            escaped = False
        elif character == "\\" and state != "'":
            escaped = True
        elif state == "#":
            state = "" if character == "\n" else state
        elif state:
            state = "" if character == state else state
        elif character in "'\"" or (character == "#" and text[position - 1 : position] in ("", " ", "\n", "\t", ";")):
            state = character
    return state


def override_words(values: Mapping[str, Any]) -> list[str]:
    """Return words `key=value` in Hydra's syntax."""
    return [f"{key}={_without_null(_hydra(value))}" for key, value in values.items()]


def _hydra(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_hydra, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_hydra(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (int, float)):
        return str(value)
    text = os.fspath(value) if hasattr(value, "__fspath__") else str(f"{value}")
    plain = text and all(character.isalnum() or character in "_./-+%@" for character in text)
    special = text.lower() in {"null", "true", "false", "nan", "inf"} or _is_number(text)
    if plain and not special:
        return text
    escaped = ""
    for character in f"{text}'":  # backslashes escape only before a quote, such as the last one
        if character == "'":
            escaped += "\\" * (len(escaped) - len(escaped.rstrip("\\"))) + "\\"
        escaped += character
    return f"'{escaped[:-2]}'"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
