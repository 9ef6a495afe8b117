"""SSHTransport: chooses the implementation for `ssh` in a URL."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from slurm.transports.openssh import OpenSSHTransport
from slurm.transports.paramiko_ssh import ParamikoTransport

if TYPE_CHECKING:
    from slurm.transports.remote import RemoteTransport
    from slurm.url import ClusterURL


class SSHTransport:
    """Chooses OpenSSH if `ssh` is on PATH and can share connections (not on Windows), else Paramiko."""

    @classmethod
    def from_url(cls, url: ClusterURL, *, login_shell: bool = False) -> RemoteTransport:
        """Return the transport to a URL's host. With `login_shell`, commands run in a login shell."""
        chosen = OpenSSHTransport if os.name == "posix" and shutil.which("ssh") else ParamikoTransport
        return chosen.from_url(url, login_shell=login_shell)
