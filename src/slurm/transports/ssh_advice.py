"""SSH errors: what a failed connection means and how to fix it. The text is the same for every SSH client."""

from __future__ import annotations

import os
from shlex import quote

from slurm.errors import ConnectionLost, TransportError
from slurm.sanitize.redaction import redacted
from slurm.sanitize.terminal import for_terminal

CONFIG_VARIABLE = "SLURMTASKS_SSH_CONFIG"
"""Environment variable: an SSH configuration to use instead of ~/.ssh/config."""

UNKNOWN_KEY = "its host key is unknown. Run `ssh {host}` once and compare the fingerprint with the site's"
CHANGED_KEY = (
    "its host key has changed: the host was reinstalled, or the connection is intercepted. If the site confirms the "
    "new key, run `ssh-keygen -R {name}`, then `ssh {host}` once"
)
DENIED = "it rejects the user or the key. Make `ssh {host}` work first: check User and IdentityFile in {config}"
LOOSE_KEY = "other users can read the private key, so it is not used. Run chmod 600 on it"
NO_NAME = "the host name is unknown. Use the name that `ssh` accepts: a host name, or an alias in {config}"
REFUSED = (
    "the connection was refused. Check the port (`:2222` after the host), and that no firewall blocks this machine"
)
SILENT = "it does not answer. Check that this machine may connect to it, or set a ProxyJump in {config}"
OTHER = "make `ssh {host}` work first"

UNREACHED = "cannot be reached"
_TEMPORARY = (NO_NAME, REFUSED, SILENT)
"""Advice for failures that may be temporary, so that a retry may help."""


def config_path() -> str:
    """Return the path of the user's SSH configuration."""
    return os.environ.get(CONFIG_VARIABLE) or os.path.expanduser("~/.ssh/config")


def failure(host: str, advice: str, words: str, command: str, *, known_as: str | None = None) -> TransportError:
    """Return the error for a failed connection: advice, the client's own message, and the command."""
    meaning = advice.format(host=quote(host), config=config_path(), name=quote(known_as or host))
    output = redacted(for_terminal(words.strip()))
    message = f"{host} {UNREACHED}: {meaning}\n{output}\nThe command was: {command}"
    return ConnectionLost(message) if advice in _TEMPORARY else TransportError(message)
