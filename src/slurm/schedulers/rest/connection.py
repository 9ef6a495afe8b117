"""Connection: requests to slurmrestd over a Unix socket or TCP, with the token of the user.

This file imports only the standard library, and no other module of this package: the doctor sends it to other machines.
The token is only in headers: never in an argument, a message or a log.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import pwd
import re
import socket
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

KNOWN = range(45, 35, -1)
"""The versions v0.0.N of the API that this package knows, newest first."""
ADDRESS, TOKEN_FILE, TOKEN = "SLURMTASKS_SLURMRESTD", "SLURMTASKS_SLURMRESTD_TOKEN_FILE", "SLURM_JWT"
UNREACHABLE, UNANSWERED = "cannot reach slurmrestd", "slurmrestd did not answer"
REJECTED = "slurmrestd: request not possible"
"""The beginning of messages that say that nothing was done and that the same request cannot succeed later."""

_NO_ENDPOINT = re.compile(r"Unable (?:to )?find requested URL")
_TOKEN = re.compile(r"[\w.+/=-]+", re.ASCII)
_OFFERED = re.compile(r'"?/slurm/v0\.0\.(\d+)/')
_CONNECT_SECONDS, _ANSWER_SECONDS = 10.0, 180.0
_NOT_AUTHENTICATED, _PROTOCOL_AUTHENTICATION = (401, 511), 1007
ADVICE = "Get a new one, for example by `scontrol token lifespan=86400`"


class RestError(Exception):
    """A request failed. The beginning of the message says whether slurmrestd may have executed it."""


class Answer:
    """The JSON of an answer, and its errors as Slurm reports them."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        self.json: dict[str, Any] = found if isinstance(found, dict) else {}
        self.errors: list[dict[str, Any]] = list(self.json.get("errors") or [])
        if not isinstance(found, dict):
            self.errors = [{"error": text.strip() or f"HTTP status {status}"}]

    @property
    def numbers(self) -> list[int]:
        """The numbers of the errors, as in slurm_errno.h."""
        return [int(each.get("error_number") or each.get("error_code") or 0) for each in self.errors]

    @property
    def words(self) -> str:
        """The texts of the errors; empty if there is none."""
        return "; ".join(_words(each) for each in self.errors)


class Connection:
    """Sends requests to one slurmrestd. The first one finds the newest version of the API that both sides know."""

    def __init__(self) -> None:
        self.address = _setting(ADDRESS, "address")
        if not self.address:
            raise RestError(
                f"{REJECTED}: no address is given. Set {ADDRESS}, or `address = …` in {_file()} on this machine, to "
                "unix:/path/of/socket, host:port or https://host:port"
            )
        self.prefix, self._http = _connection(self.address)
        self._token = _token()
        if not self._token and not isinstance(self._http, _UnixConnection):
            raise RestError(
                f"{REJECTED}: slurmrestd at {self.address} needs a token. {ADVICE}, and write it to a file that only "
                f"you can read; name the file in {TOKEN_FILE}, or by `token_file = …` in {_file()}"
            )
        self.version = 0

    def call(self, method: str, path: str, body: Callable[[int], object] | None = None, *, of: str = "slurm") -> Answer:
        """Send a request, and return the answer. `body` returns the JSON for a version; `of` is slurm or slurmdb."""
        for version in [self.version] if self.version else KNOWN:
            data = None if body is None else json.dumps(body(version))
            status, text = self._send(method, f"/{of}/v0.0.{version}/{path}", data)
            if self.version or not _NO_ENDPOINT.search(text):
                self.version = version
                answer = Answer(status, text)
                self._check_authentication(answer)
                return answer
        offered = ", ".join(f"v0.0.{number}" for number in self.offered()) or "none of them"
        raise RestError(
            f"{REJECTED}: slurmrestd at {self.address} offers {offered}; this package knows v0.0.{KNOWN[-1]} to "
            f"v0.0.{KNOWN[0]}"
        )

    def offered(self) -> list[int]:
        """Return the versions that the specification of slurmrestd names, newest first."""
        _, text = self._send("GET", "/openapi/v3", None)
        return sorted({int(number) for number in _OFFERED.findall(text.replace("\\/", "/"))}, reverse=True)

    def _check_authentication(self, answer: Answer) -> None:
        """Raise RestError if the token was rejected. Up to v0.0.38, a rejection by slurmctld is not reported."""
        if answer.status in _NOT_AUTHENTICATED or _PROTOCOL_AUTHENTICATION in answer.numbers:
            given = f"the token in {_setting(TOKEN_FILE, 'token_file') or TOKEN}"
            whose, advice = (
                (given, ADVICE) if self._token else ("requests without a token", f"Set {TOKEN_FILE} or {TOKEN}")
            )
            raise RestError(f"{REJECTED}: slurmrestd at {self.address} does not accept {whose}. {advice}")

    def _send(self, method: str, path: str, data: str | None) -> tuple[int, str]:
        http_, headers = self._http, {"Accept": "application/json"}
        if self._token:
            user = str(_claims(self._token).get("sun") or pwd.getpwuid(os.geteuid()).pw_name)
            headers.update({"X-SLURM-USER-NAME": user, "X-SLURM-USER-TOKEN": self._token})
        if data is not None:
            headers["Content-Type"] = "application/json"
        try:
            if http_.sock is None:
                http_.connect()
        except FileNotFoundError:
            raise RestError(f"{REJECTED}: there is no socket {self.address}") from None
        except OSError as error:
            raise RestError(f"{UNREACHABLE} at {self.address}: {error.strerror or error}") from None
        try:
            if http_.sock is not None:
                http_.sock.settimeout(_ANSWER_SECONDS)
            http_.request(method, self.prefix + path, body=data, headers=headers)
            response = http_.getresponse()
            return response.status, response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            http_.close()
            raise RestError(f"{UNANSWERED} at {self.address}: {error or type(error).__name__}") from None


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_CONNECT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._path)
        except OSError:
            self.close()
            raise


def _connection(address: str) -> tuple[str, http.client.HTTPConnection]:
    """Return the prefix of each path, and a connection that is not yet open."""
    path = address.removeprefix("unix:")
    if path.startswith("/"):
        return "", _UnixConnection("/" + path.lstrip("/"))
    found = re.fullmatch(r"(?:(https?)://)?(\[[^\]/\s]+\]|[^:/@\s]+)(?::(\d+))?(/[^\s?#]*)?", address)
    if not found or not (found[1] or found[3]) or int(found[3] or 0) >= 1 << 16:
        raise RestError(
            f"{REJECTED}: {address!r} is not an address of slurmrestd. Write unix:/path/of/socket, host:port or "
            "https://host:port"
        )
    kind = http.client.HTTPSConnection if found[1] == "https" else http.client.HTTPConnection
    port = int(found[3]) if found[3] else None
    return (found[4] or "").rstrip("/"), kind(found[2].strip("[]"), port, timeout=_CONNECT_SECONDS)


def _token() -> str:
    """Return the token from the file or the variable; "" without one. Raises RestError if it cannot be used."""
    path = os.path.expanduser(_setting(TOKEN_FILE, "token_file"))
    if path:
        try:
            with open(path, encoding="ascii") as file:
                mode = os.fstat(file.fileno())
                text = file.read().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise RestError(f"{REJECTED}: cannot read the token in {path}: {error}") from None
        if stat.S_IMODE(mode.st_mode) & 0o077 or mode.st_uid not in (0, os.geteuid()):
            raise RestError(f"{REJECTED}: the token in {path} must be yours and readable by you only: chmod 600 {path}")
    else:
        text = os.environ.get(TOKEN, "").strip()
    text = text.partition("SLURM_JWT=")[2] or text  # as `scontrol token` prints it
    if text and not _TOKEN.fullmatch(text):
        raise RestError(f"{REJECTED}: {path or TOKEN} does not contain a token: it has wrong characters. {ADVICE}")
    expires = _claims(text).get("exp")
    if isinstance(expires, (int, float)) and expires < time.time():
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(expires))
        raise RestError(f"{REJECTED}: the token in {path or TOKEN} expired on {when}. {ADVICE}")
    return text


def _claims(token: str) -> Mapping[str, Any]:
    """Return the claims of a token, without a check: slurmctld checks them. Empty if the token is not a JWT."""
    try:
        middle = token.split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    except (IndexError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _file() -> str:
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(base, "slurm-tasks", "slurmrestd.conf")


def _setting(variable: str, name: str) -> str:
    """Return the value of a variable, or else the value in a line "name = value" of the file."""
    if os.environ.get(variable):
        return os.environ[variable]
    try:
        with open(_file(), encoding="utf-8") as file:
            pairs = [line.partition("=") for line in file if not line.lstrip().startswith("#")]
    except (OSError, UnicodeDecodeError):
        return ""
    return next((value.strip() for key, _, value in pairs if key.strip() == name), "")


def _words(error: Mapping[str, Any]) -> str:
    """Return the text of an error: Slurm's message, then what slurmrestd adds."""
    text, more = str(error.get("error") or ""), str(error.get("description") or "")
    return f"{text} ({more})" if text and more and more not in text else text or more or "unknown error"


def survey() -> None:
    """Print what the doctor shows: where slurmrestd is, its versions, whether slurmctld and slurmdbd answer it."""
    connection = Connection()
    ping = connection.call("GET", "ping/")
    meta = ping.json.get("meta") or {}
    print(f"address={connection.address}")
    print("versions=" + " ".join(f"v0.0.{number}" for number in connection.offered()))
    print(f"version=v0.0.{connection.version}")
    print("release=" + str((meta.get("Slurm") or meta.get("slurm") or {}).get("release", "")))
    pings = ping.json.get("pings") or []
    up = any("UP" in (each.get("ping"), each.get("pinged")) or each.get("responding") is True for each in pings)
    print(f"slurmctld={'up' if up else ping.words or 'down'}")
    accounting = connection.call("GET", "job/1", of="slurmdb")
    print(f"accounting={'no' if has_no_accounting(accounting) else 'yes'}")


def has_no_accounting(answer: Answer) -> bool:
    """Whether slurmrestd has no plugin for slurmdbd, or cannot use it."""
    return bool(_NO_ENDPOINT.search(answer.words)) or 7000 in answer.numbers or "slurmdbd" in answer.words


if __name__ == "__main__":
    try:
        survey()
    except RestError as failure:
        print(failure, file=sys.stderr)
        sys.exit(1)
