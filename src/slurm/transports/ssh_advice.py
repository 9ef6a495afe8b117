"""SSH errors: what a failed connection means and how to fix it, in the same words for every SSH client."""

from __future__ import annotations

import os
from shlex import quote

from slurm.errors import ConnectionLost, TransportError
from slurm.sanitize.redaction import redacted
from slurm.sanitize.terminal import for_terminal

CONFIG_VARIABLE = "SLURMTASKS_SSH_CONFIG"
"""Environment variable: an SSH configuration to use instead of ~/.ssh/config."""

UNKNOWN_KEY = "its key is not known here. Compare its fingerprint with the site's, by `ssh {host}` once by hand"
CHANGED_KEY = (
    "its key is not the one known here: it was reinstalled, or somebody sits in between. If the site says it is right, "
    "`ssh-keygen -R {name}`, then `ssh {host}` once by hand"
)
DENIED = "it doesn't accept the user or the key. `ssh {host}` must work by hand: see User and IdentityFile in {config}"
LOOSE_KEY = "the private key can be read by others, so it isn't used: chmod 600 it"
NO_NAME = "there is no host of that name. Write what you give to `ssh`: a host's name, or an alias in {config}"
REFUSED = "nothing listens there: see the port (`:2222` after the host), and whether this machine may reach it"
SILENT = "it doesn't answer: see whether this machine may reach it, or needs a ProxyJump in {config}"
OTHER = "`ssh {host}` must work by hand first"

UNREACHED = "can't be reached"
_MAY_PASS = (NO_NAME, REFUSED, SILENT)
"""How a temporary network failure shows."""


def config_path() -> str:
    """Return the path of the user's SSH configuration."""
    return os.environ.get(CONFIG_VARIABLE) or os.path.expanduser("~/.ssh/config")


def failure(host: str, advice: str, words: str, command: str, *, known_as: str | None = None) -> TransportError:
    """Return the error for a failed connection: advice, the client's own message, and the command."""
    told = advice.format(host=quote(host), config=config_path(), name=quote(known_as or host))
    said = redacted(for_terminal(words.strip()))
    message = f"{host} {UNREACHED}: {told}\n{said}\nThe command was: {command}"
    return ConnectionLost(message) if advice in _MAY_PASS else TransportError(message)
