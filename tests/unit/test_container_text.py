"""Containers as text: references, what an image is built from, and the lines that run one."""

from __future__ import annotations

import base64
import json
import os
import shlex
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from slurm import Container
from slurm.environments import image_lookup
from slurm.environments.base import BuildTarget
from slurm.environments.containerfile import Ignored
from slurm.environments.images import Reference
from slurm.environments.runtimes.apptainer import Apptainer
from slurm.environments.runtimes.base import STEP, Image, Mount, Run, launcher
from slurm.environments.runtimes.engines import Docker, Podman
from slurm.environments.runtimes.pyxis import Pyxis
from slurm.errors import ConfigurationError, EnvironmentNotReady, SlurmfileError
from slurm.schedulers.slurm import SlurmScheduler
from slurm.slurmfile import load
from slurm.transports.local import LocalTransport

DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("python", "docker.io", "library/python", "latest", None),
        ("ann/tool:1.0", "docker.io", "ann/tool", "1.0", None),
        ("ghcr.io/ann/a-tool.x:v1_2", "ghcr.io", "ann/a-tool.x", "v1_2", None),
        (f"docker://nvcr.io/nvidia/pytorch:24.01-py3@{DIGEST}", "nvcr.io", "nvidia/pytorch", "24.01-py3", DIGEST),
        ("127.0.0.1:5000/py", "127.0.0.1:5000", "py", "latest", None),
        ("localhost/py:mini", "localhost", "py", "mini", None),
        ("login1:5000/py", "login1:5000", "py", "latest", None),
    ],
)
def test_references(text: str, registry: str, repository: str, tag: str, digest: str | None) -> None:
    assert Reference.parse(text) == (registry, repository, tag, digest)


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("a.log", True),
        ("deep/er/a.log", True),
        ("keep.log", False),
        ("build/x/y", True),
        ("src/build/x", False),
        ("doc/a1.txt", True),
        ("doc/ab.txt", False),
        ("[x]", True),
        (".git", False),
    ],
)
def test_what_a_dockerignore_leaves_out(path: str, ignored: bool) -> None:
    patterns = Ignored("# *\n\n**/*.log\n!keep.log\n/build/\ndoc/?[0-9].txt\n\\[x\\]\n")
    assert (path in patterns) is ignored


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"image": "python", "context": "."},
        {"image": "Not A Reference"},
        {"image": "python", "runtime": "chroot"},
        {"image": "python", "gpus": "many"},
        {"image": "python", "env": {"a-b": "c"}},
        {"image": "python", "mounts": ["relative:/there"]},
        {"image": "python", "mounts": ["/a:/b:rox"]},
    ],
)
def test_what_cant_be_is_told_at_once(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        Container(**wrong)  # type: ignore[arg-type]


def test_a_container_in_a_slurmfile(tmp_path: Path) -> None:
    file = tmp_path / "Slurmfile"
    text = "clusters: {a: {url: slurm, environment: {container: {context: image, mounts: [/data], gpus: yes}}}}"
    file.write_text(text)
    assert load("a", file).environment == (Container(context=tmp_path / "image", mounts=["/data"], gpus=True),)
    file.write_text(text.replace("context: image", "contxt: image"))
    with pytest.raises(SlurmfileError, match="context"):
        load("a", file)


# Pyxis can't be had; this stands for the srun that it is a plugin of.
SRUN = """#!/bin/sh
printf '%s\\n' "$@"
"""


@pytest.mark.parametrize("ranks", [False, True])
def test_pyxis_is_driven_up_to_its_command_line(ranks: bool, tmp_path: Path) -> None:
    image = Image(f"nvcr.io/nvidia/pytorch@{DIGEST}", "")
    run = Run("/scratch/my jobs", mounts=(Mount("~/data", "/data", readonly=True),), options=("--mpi=pmix",))
    (tmp_path / "srun").write_text(SRUN)
    (tmp_path / "srun").chmod(0o755)
    (tmp_path / "launcher").write_text(launcher(Pyxis(), image, run))
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": "/home/ann"}
    environ |= {STEP: shlex.join(SlurmScheduler.launcher)} if ranks else {}
    argv = ["bash", str(tmp_path / "launcher"), "python3", "-c", "a 'b' $c"]
    done = subprocess.run(argv, cwd="/usr", env=environ, capture_output=True, text=True, check=True)
    step = SlurmScheduler.launcher[1:] if ranks else ("--nodes=1", "--ntasks=1", "--export=ALL")
    assert done.stdout.splitlines() == [
        *step,
        f"--container-image=nvcr.io#nvidia/pytorch@{DIGEST}",
        "--container-mounts=/scratch/my jobs:/scratch/my jobs,/home/ann/data:/data:ro,/usr:/usr",
        "--container-workdir=/usr",
        "--no-container-mount-home",
        "--no-container-entrypoint",
        "--mpi=pmix",
        "python3",
        "-c",
        "a 'b' $c",
    ]
    with pytest.raises(ConfigurationError, match="comma"):
        launcher(Pyxis(), image, run._replace(mounts=(Mount("/a,b", "/c"),)))
    with pytest.raises(ConfigurationError, match="network"):
        launcher(Pyxis(), image, run._replace(network=False))


def test_gpus_and_the_network_are_each_runtimes_own_options() -> None:
    image = Image("image", "")
    run = Run("/root", gpus="nvidia", network=False)
    assert "--network=none" in (podman := launcher(Podman(), image, run))
    assert "--device nvidia.com/gpu=all" in podman
    assert "--gpus all" in launcher(Docker(), image, run)
    assert "exec --cleanenv --no-home --net --network=none --nv " in launcher(Apptainer(), image, run)


class Tokens(BaseHTTPRequestHandler):
    """A registry that, as Docker Hub does, takes tokens which another service gives: none such can be had in a test."""

    def do_GET(self) -> None:
        """Give a token to who has a login, and an image to who has a token."""
        login = f"Basic {base64.b64encode(b'ann:secret').decode()}"
        given = self.headers.get("Authorization")
        if self.path.startswith("/token"):
            assert "service=here" in self.path
            assert "scope=repository%3Aann%2Ftool%3Apull" in self.path
            self._answer(200 if given == login else 401, {"token": "t0ken"})
        elif given != "Bearer t0ken":
            realm = f"http://{self.headers['Host']}/token"
            self._answer(401, {}, f'Bearer realm="{realm}",service="here",scope="repository:ann/tool:pull"')
        else:
            platforms = [{"platform": {"os": "linux", "architecture": name}} for name in ("amd64", "arm64")]
            self._answer(200, {"manifests": platforms})

    def _answer(self, status: int, body: object, challenge: str = "") -> None:
        self.send_response(status)
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_registry_that_takes_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    (tmp_path / "auth.json").write_text("{}")
    with serving(Tokens) as tokens:
        assert image_lookup.answer(tokens, "ann/tool", "1", "plain") == {"refused": "Unauthorized (HTTP 401)"}
        login = {"auth": base64.b64encode(b"ann:secret").decode()}
        (tmp_path / "auth.json").write_text(json.dumps({"auths": {tokens: login}}))
        found = image_lookup.answer(tokens, "ann/tool", "1", "plain")
    assert found["platforms"] == ["linux/amd64", "linux/arm64"]
    assert str(found["digest"]).startswith("sha256:")


class Unwell(BaseHTTPRequestHandler):
    """A registry that has its own troubles, which a real one can't be given here."""

    def do_GET(self) -> None:
        """Fail."""
        self.send_error(500)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def test_a_registry_that_isnt_well_hasnt_refused_the_image(tmp_path: Path) -> None:
    with serving(Unwell) as registry:
        found = image_lookup.answer(registry, "ann/tool", "1", "plain")
        assert found == {"unreachable": "Internal Server Error (HTTP 500)"}
        place = BuildTarget.at(LocalTransport(), str(tmp_path))
        with pytest.raises(EnvironmentNotReady, match=r"cannot be asked for .*\(HTTP 500\); or name it by its digest"):
            Container(f"{registry}/ann/tool", runtime="podman").prepare(place)


def test_a_registry_that_isnt_there_is_unreachable() -> None:
    assert "unreachable" in image_lookup.answer("127.0.0.1:1", "ann/tool", "1", "plain")
