"""SSHTransport: what `ssh` in a URL stands for."""

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
    """OpenSSH where its `ssh` is on PATH and can share connections, which it can't on Windows; else Paramiko."""

    @classmethod
    def from_url(cls, url: ClusterURL, *, login_shell: bool = False) -> RemoteTransport:
        """The transport to a URL's host; commands run in a login shell there if that or the URL says so."""
        chosen = OpenSSHTransport if os.name == "posix" and shutil.which("ssh") else ParamikoTransport
        return chosen.from_url(url, login_shell=login_shell)
