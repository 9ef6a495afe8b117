"""Cluster URLs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slurm import Cluster
from slurm.errors import ClusterURLError
from slurm.places.place import place_for
from slurm.url import ClusterURL
from unit.strategies import TEXT, matching

NAMES = matching(r"[a-z][a-z0-9_]{0,7}").filter(lambda name: name != "auto")
ROOTS = st.none() | TEXT.map("/".__add__).filter(lambda root: not root.startswith("/~/")) | TEXT.map("~/".__add__)
HERE = st.builds(lambda scheduler, root: ClusterURL(scheduler, root=root), NAMES, ROOTS)
THERE = st.builds(
    ClusterURL,
    scheduler=NAMES,
    transport=NAMES,
    user=st.none() | matching(r"[a-z][a-z0-9._-]{0,7}"),
    host=matching(r"[a-z0-9][a-z0-9.-]{0,20}") | st.ip_addresses(v=6).map(str),
    port=st.none() | st.integers(1, 65535),
    root=ROOTS,
)


def test_auto_is_the_slurm_of_this_machine_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ClusterURL.parse("auto:///data") == ClusterURL("local", root="/data")
    (tmp_path / "sbatch").write_text("#!/bin/sh\n")
    (tmp_path / "sbatch").chmod(0o755)
    assert str(ClusterURL.parse("auto")) == str(Cluster("auto").url) == "slurm"
    with pytest.raises(ClusterURLError, match="auto looks at this machine; for another one, name its scheduler"):
        ClusterURL.parse("auto+ssh://login")


@given(HERE | THERE)
@example(ClusterURL("local", root="/~"))
def test_a_url_survives_formatting(url: ClusterURL) -> None:
    assert ClusterURL.parse(str(url)) == url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("local", ClusterURL("local")),
        ("slurm:///scratch/ann/jobs", ClusterURL("slurm", root="/scratch/ann/jobs")),
        (
            "slurm+ssh://ann@login:2222/scratch/ann",
            ClusterURL("slurm", "ssh", user="ann", host="login", port=2222, root="/scratch/ann"),
        ),
        ("local+ssh://[::1]:22", ClusterURL("local", "ssh", host="::1", port=22)),
    ],
)
def test_the_parts_of_a_url_are_found(text: str, url: ClusterURL) -> None:
    assert ClusterURL.parse(text) == url


@pytest.mark.parametrize(
    "text",
    ["", "Slurm", "slurm:", "slurm:/x", "slurm://x y/", "slurm+://h", "slurm+ssh://h:port", "slurm+ssh://a@b@c", "1st"],
)
def test_an_invalid_url_is_rejected_and_quoted(text: str) -> None:
    with pytest.raises(ClusterURLError) as caught:
        ClusterURL.parse(text)
    assert repr(text) in str(caught.value)


def test_a_relative_path_is_told_how_to_write_a_path() -> None:
    with pytest.raises(ClusterURLError, match=r"a directory of this machine, .* such as 'local:///scratch/ann/jobs'"):
        ClusterURL.parse("local://relative/dir")


@pytest.mark.parametrize("text", ["slurm://login", "slurm+ssh", "slurm+ssh:///root"])
def test_a_host_requires_a_transport_and_a_transport_a_host(text: str) -> None:
    with pytest.raises(ClusterURLError, match="give both a transport and a host"):
        ClusterURL.parse(text)


def test_the_url_of_a_root_in_the_home_can_be_read_again() -> None:
    url = place_for("local", root="~/jobs").url
    assert ClusterURL.parse(str(url)) == url
