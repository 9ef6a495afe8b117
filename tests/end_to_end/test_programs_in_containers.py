"""Commands in an image of one static program: the runner is outside of it, and the image has no Python and no shell."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurm import Cluster, CommandFailed, Container, command
from testbed.containers import ContainerTestbed

WORDS = 'it\'s "$HOME" `x`\n  é*'
"""A value that a shell would change."""


@pytest.fixture
def image(containers: ContainerTestbed) -> Container:
    """The image, kept here and sent as a file."""
    return Container(containers.static_image(), runtime="podman", builder="podman")


def test_products_status_logs_input_and_variables_of_a_program_without_python(
    local: Cluster, image: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("given.txt").write_text("a file of the project\n")
    run = command(
        "/program out {text} err problem cat given.txt cat - env WORDS env PATH write out.txt {text}",
        files=["given.txt"],
        products=["out.txt"],
        env={"WORDS": "{text}", "PATH": "/own/bin"},
        stdin="from {text}\n",
        check="/program cat {product}",
        environment=image,
    )
    job = run(WORDS)
    done = job.result(90)
    assert done.products[0].read_text() == WORDS
    lines = [WORDS, "a file of the project", f"from {WORDS}", f"WORDS={WORDS}", "PATH=/own/bin", WORDS]
    assert (done.directory / "stdout.log").read_text() == "\n".join(lines)
    assert (done.directory / "stderr.log").read_text() == "problem\n"
    assert sorted(path.name for path in done.directory.iterdir()) == [
        "given.txt",
        "out.txt",
        "stderr.log",
        "stdout.log",
    ]
    assert "problem\n" in job.logs()

    failed = command("/program err why status {n}", environment=image)(3)
    with pytest.raises(CommandFailed, match="ended with status 3") as caught:
        failed.result(90)
    assert (caught.value.exit_code, caught.value.stderr) == (3, "why")
