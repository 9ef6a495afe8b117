"""The accounting of a testbed: what slurmctld tells slurmdbd, and that a MariaDB of its own."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from testbed.config import LOOPBACK, is_listening, plugin_settings, user_name
from testbed.daemons import Daemon


class Accounting:
    """The two daemons behind sacct, and their files; whoever has it starts them, in order.

    new_daemon takes a daemon's name, its program, its options and, as `env`, variables of its own.
    """

    def __init__(
        self, directory: Path, port: int, new_daemon: Callable[..., Daemon], settings: Mapping[str, str]
    ) -> None:
        self._settings = dict(settings)
        self._directory = directory
        self._port = port
        self._defaults = f"--defaults-file={directory}/mariadb.cnf"
        self._socket = directory / "run" / "mariadb.sock"
        # As root it insists on being told whom to run as.
        self.mariadbd = new_daemon("mariadbd", "mariadbd", self._defaults, f"--user={user_name()}")
        # Slurm hands its client library no socket; without this variable it would take the machine's.
        self.slurmdbd = new_daemon("slurmdbd", "slurmdbd", "-D", env={"MYSQL_UNIX_PORT": str(self._socket)})

    @property
    def settings(self) -> dict[str, str]:
        """The lines of slurm.conf that have slurmctld and sacct use it."""
        return {
            "AccountingStorageType": "accounting_storage/slurmdbd",
            "AccountingStorageHost": LOOPBACK,
            "AccountingStoragePort": str(self._port),
        }

    @property
    def install(self) -> list[str]:
        """The command that makes an empty database.

        It isn't told a user: as root it would then give directories of the machine's MariaDB to that one.
        """
        return ["mariadb-install-db", self._defaults, "--skip-test-db"]

    def write_files(self) -> None:
        """Write the configuration of both."""
        (self._directory / "mariadb").mkdir()
        (self._directory / "mariadb.cnf").write_text(self._mariadb_cnf())
        conf = self._directory / "slurmdbd.conf"
        conf.touch(0o600)  # slurmdbd refuses one that others can read
        conf.write_text(self._slurmdbd_conf())

    def database_answers(self) -> bool:
        """Say whether mariadbd takes connections."""
        with socket.socket(socket.AF_UNIX) as sock, suppress(OSError):
            sock.connect(str(self._socket))
            return True
        return False

    def answers(self) -> bool:
        """Say whether slurmdbd takes connections."""
        return is_listening(self._port)

    def _mariadb_cnf(self) -> str:
        # It has no passwords and no network: its socket lies in a directory that is its user's own.
        return f"""\
[mariadbd]
datadir={self._directory}/mariadb
tmpdir={self._directory}/run
socket={self._socket}
pid-file={self._directory}/run/mariadbd.pid
skip-networking
skip-grant-tables
skip-log-bin
performance-schema=OFF
innodb-buffer-pool-size=32M
innodb-log-file-size=8M
innodb-lock-wait-timeout=900
innodb-flush-log-at-trx-commit=0
"""

    def _slurmdbd_conf(self) -> str:
        plugins = "".join(f"{key}={value}\n" for key, value in {**plugin_settings(), **self._settings}.items())
        return f"""\
{plugins}AuthType=auth/none
CommunicationParameters=NoInAddrAny
DbdHost=localhost
DbdAddr={LOOPBACK}
DbdPort={self._port}
SlurmUser={user_name()}
PidFile={self._directory}/run/slurmdbd.pid
LogFile={self._directory}/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageLoc=slurm
"""
