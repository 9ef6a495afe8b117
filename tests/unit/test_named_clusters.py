"""A cluster is found by its name in the Slurmfile or by its URL, alike for commands, sweeps and tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest

from slurm.cli.cluster_argument import cluster_of as of_a_command
from slurm.clusters.named import cluster_named
from slurm.errors import ConfigurationError, SlurmfileError
from slurm.sweeps.sources import cluster_of as of_a_sweep
from slurm.tools.clusters import cluster_of as of_a_tool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slurm import Cluster

FILE = "clusters:\n  gpu: {url: local, root: /there}\n"
ALL = [cluster_named, of_a_command, of_a_sweep, of_a_tool]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLURMFILE", raising=False)
    (tmp_path / "Slurmfile").write_text(FILE)
    return tmp_path


@pytest.mark.parametrize("find", ALL)
def test_a_name_is_looked_up_and_a_url_is_not(find: Callable[[str], Cluster]) -> None:
    assert find("gpu").url == "local:///there"
    assert find("local").url == "local"
    assert find("local:///elsewhere").url == "local:///elsewhere"


@pytest.mark.parametrize("find", ALL)
def test_a_text_that_is_neither_is_told_with_the_near_names(find: Callable[[str], Cluster]) -> None:
    with pytest.raises(
        (ConfigurationError, click.UsageError),
        match=r"Slurmfile has no cluster 'gpi', .* 'gpi': did you mean 'gpu'",
    ):
        find("gpi")


@pytest.mark.parametrize("find", ALL)
def test_a_misspelt_scheduler_is_told_without_a_file(find: Callable[[str], Cluster], directory: Path) -> None:
    (directory / "Slurmfile").unlink()
    message = "there is no Slurmfile here, and there is no scheduler 'lcoal': did you mean 'local'[?]$"
    with pytest.raises((ConfigurationError, click.UsageError), match=message):
        find("lcoal")
    with pytest.raises((ConfigurationError, click.UsageError), match=r"no scheduler 'lcoal': did you mean 'local'[?]$"):
        find("lcoal:///there")


@pytest.mark.parametrize("find", ALL)
def test_a_file_with_an_error_is_told_as_such(find: Callable[[str], Cluster], directory: Path) -> None:
    (directory / "Slurmfile").write_text("clusters:\n  gpu: {uri: local}\n")
    with pytest.raises(SlurmfileError, match="Slurmfile, line 2"):
        find("gpu")


@pytest.mark.parametrize("find", [cluster_named, of_a_command, of_a_tool])
def test_no_name_is_the_default_of_the_file_or_what_is_here(
    find: Callable[[str | None], Cluster], directory: Path
) -> None:
    assert find(None).place.url.root is None  # the file names no default
    (directory / "Slurmfile").write_text(f"default: gpu\n{FILE}")
    assert find(None).url == "local:///there"
