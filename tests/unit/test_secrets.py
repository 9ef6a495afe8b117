"""Passwords in URLs appear in no log, error or record."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slurm import Cluster, Wheel
from slurm.callbacks.base import checked
from slurm.environments import installer
from slurm.environments.wheel_building import build_failed, run
from slurm.errors import BuildFailed, ClusterURLError, ConfigurationError
from slurm.transports.base import Completed
from slurm.transports.ssh_advice import CHANGED_KEY, failure
from slurm.url import ClusterURL

URL = "https://ann:S3CRET@index.example/simple"
SAYS = ("import sys; print('Looking in indexes:', sys.argv[1]); sys.exit(int(sys.argv[2]))", URL)


@pytest.mark.parametrize("status", ["0", "3"])
def test_the_output_of_a_build_is_kept_without_passwords(tmp_path: Path, status: str) -> None:
    log = tmp_path / "log"
    told = ""
    try:
        run([sys.executable, "-c", *SAYS, status], "it failed", log)
    except BuildFailed as error:
        told = f"{error}{error.output}"
    assert (status == "3") == ("Looking in indexes: https://***@index.example/simple" in told)
    assert "S3CRET" not in told + log.read_text()
    assert "https://***@index.example" in log.read_text()


def test_the_output_of_an_installer_is_kept_without_passwords(capfd: pytest.CaptureFixture[str]) -> None:
    log = io.BytesIO()
    with pytest.raises(subprocess.CalledProcessError) as caught:
        installer.run(log, dict(os.environ), sys.executable, "-c", *SAYS, "3")
    told = f"{caught.value}{log.getvalue().decode()}{capfd.readouterr().err}"
    assert told.count("https://***@index.example/simple") == 2
    assert "S3CRET" not in told


def test_command_output_in_errors_has_no_passwords_and_no_control_characters() -> None:
    done = Completed(("git",), 1, "", f"fatal: {URL}\x1b[2J")
    assert done.words == r"fatal: https://***@index.example/simple\x1b[2J"
    assert "S3CRET" not in str(build_failed("it failed", URL, "/log"))
    error = failure("a b", CHANGED_KEY, f"banner \x1b]0;x\x07 {URL}", "ssh 'a b'")
    assert "`ssh-keygen -R 'a b'`, then `ssh 'a b'` once by hand" in str(error)
    assert not {"\x1b", "\x07"} & set(str(error))
    assert "S3CRET" not in str(error)


@pytest.mark.parametrize(
    "url",
    [
        "slurm+ssh://ann:S3CRET@login",
        "slurm+ssh://ann:S3/CRET@login",
        "slurm+ssh://ann:S3 CRET@login",
        "x://a:S3CRET@b@c",
    ],
)
def test_a_password_in_a_cluster_url_is_rejected_and_not_shown(url: str) -> None:
    with pytest.raises(ClusterURLError) as caught:
        ClusterURL.parse(url)
    assert not {"S3CRET", "CRET"} & set(str(caught.value).replace("@", " ").replace(":", " ").split())
    assert "CRET" not in str(caught.value)


def test_an_invalid_port_is_rejected() -> None:
    for port in (0, 65536, 10**30):
        with pytest.raises(ClusterURLError, match="the port must be a number from 1 to 65535"):
            Cluster(f"slurm+ssh://login:{port}")


def test_a_lock_file_with_a_password_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'a'\n")
    (tmp_path / "lock.txt").write_text(f"--index-url {URL}\nnumpy==1.0\n")
    with pytest.raises(ConfigurationError, match=r"a URL in .*lock\.txt contains a password") as caught:
        Wheel(str(tmp_path), lock="lock.txt").fingerprint()
    assert "S3CRET" not in str(caught.value)


def test_the_arguments_of_a_callback_are_not_shown() -> None:
    with pytest.raises(TypeError, match="not a value of type str") as caught:
        checked([URL])
    assert "S3CRET" not in json.dumps(str(caught.value))
