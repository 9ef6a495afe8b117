"""The program that makes a virtual environment on the cluster, with any Python and the standard library only.

The client sends its source. It reads a request as JSON from standard input, prints its progress to standard error and
to a log, and prints its answer as one line of JSON on standard output.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from configparser import RawConfigParser
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import IO, Any

PIP_THAT_INSTALLS_ELSEWHERE = (22, 3)
"""pip has --python since this version, so the environment needs no pip of its own."""
_PASSWORD = re.compile(
    rb"""(://)(?:[^\s/:@'"<>\[]{0,256}:(?!\d{1,5}[/?#])[^\s'"<>]{0,256}|(?<!ssh://)[^\s/?#'"<>]{0,256})@"""
)
"""A password or token in a URL. URLs come from the site's settings, and installers print them."""
_OF_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
    "trusted-host": "UV_INSECURE_HOST",
}


def main() -> None:
    """Make the environment that standard input describes."""
    request = json.load(sys.stdin)
    os.umask(0o077)
    directory = Path(request["directory"])
    with open(request["log"], "ab") as log:
        try:
            put(directory / "wheels", request["wheels"])
            put(directory / "wheelhouse", request["wheelhouse"])
            python = install(directory, request, log)
            if request["base_python"] is not None:
                base, top = (Path(path).parents[1] for path in (request["base_python"], python))
                copy_scripts(base, top)
                overlay(base, top)
            digest = subprocess.check_output(
                [python, "-c", request["run_source"], request["digest"]], text=True
            ).strip()
        except (subprocess.CalledProcessError, OSError) as error:
            sys.exit(f"{type(error).__name__}: {error}")
    shutil.rmtree(directory / "wheelhouse", ignore_errors=True)
    sys.stdout.write(json.dumps({"python": python, "digest": digest}) + "\n")


def put(directory: Path, blobs: Mapping[str, str]) -> None:
    """Give blobs their original file names, which installers parse."""
    directory.mkdir()
    for name, blob in blobs.items():
        try:
            os.link(blob, directory / name)
        except OSError:
            shutil.copyfile(blob, directory / name)


def install(directory: Path, request: Mapping[str, Any], log: IO[bytes]) -> str:
    """Make the virtual environment, install into it, and return the path of its Python.

    An environment of dependencies is resolved with the projects installed, and the projects are removed afterwards.
    """
    venv = directory / "venv"
    python = str(venv / "bin" / "python")
    environ = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    arguments = wanted(directory, request)
    without = [name.partition("[")[0] for name, _ in request["projects"]] if request["only_dependencies"] else []
    shared = ["--system-site-packages"] if request["system_site_packages"] else []
    if uv := find_uv():
        environ.update(index_of_pip(environ))
        if request["index_url"]:
            environ.pop("UV_DEFAULT_INDEX", None)  # it would take precedence
        run(log, environ, uv, "venv", "--quiet", "--python", sys.executable, *shared, venv)
        run(log, environ, uv, "pip", "install", "--python", python, "--compile-bytecode", *arguments)
        if without:
            run(log, environ, uv, "pip", "uninstall", "--python", python, *without)
        return python
    here = [sys.executable, "-c", request["run_module"]]
    quiet = ["--no-input", "--disable-pip-version-check"]
    if pip_version() >= PIP_THAT_INSTALLS_ELSEWHERE:
        run(log, environ, *here, "venv", "--without-pip", *shared, venv)
        pip = [*here, "pip", "--python", python]
    else:
        run(log, environ, *here, "venv", *shared, venv)
        pip = [python, "-c", request["run_module"], "pip"]
    run(log, environ, *pip, "install", *quiet, "--no-warn-script-location", *arguments)
    if without:
        run(log, environ, *pip, "uninstall", *quiet, "--yes", *without)
    return python


def wanted(directory: Path, request: Mapping[str, Any]) -> list[str]:
    """The arguments for uv and pip: what to install, and where to find it."""
    found = [f"{name} @ {(directory / 'wheels' / wheel).as_uri()}" for name, wheel in request["projects"]]
    if request["base_python"] is not None:
        return [*found, "--no-deps"]
    found += request["dependencies"]
    if request["constraints"] is not None:
        (directory / "constraints.txt").write_text(request["constraints"])
        found += ["--constraint", str(directory / "constraints.txt")]
    found += index_arguments(request)
    if request["offline"]:
        found += ["--no-index", "--find-links", str(directory / "wheelhouse")]
    return found


def overlay(base: Path, top: Path) -> None:
    """Combine two environments: link from `top` to everything of `base` that it lacks.

    Directories that exist in both are merged at any depth, as if everything had been installed together.
    """
    for entry in os.scandir(base):
        mine = top / entry.name
        if entry.name == "__pycache__":  # through a link, Python would write the caches of `top` into the shared `base`
            mine.mkdir(exist_ok=True)
        if mine.is_dir() and entry.is_dir(follow_symlinks=False):
            overlay(Path(entry), mine)
        elif not os.path.lexists(mine):
            mine.symlink_to(entry)


def copy_scripts(base: Path, top: Path) -> None:
    """Copy the scripts of `base`, to be run by the Python of `top`: the Python of `base` cannot import from `top`."""
    for path in (base / "bin").iterdir():
        mine = top / "bin" / path.name
        if os.path.lexists(mine) or not path.is_file():
            continue
        with open(path, "rb") as file:
            if file.read(2) != b"#!":
                continue
            mine.write_bytes(b"#!" + file.read().replace(os.fsencode(base), os.fsencode(top)))
        shutil.copymode(path, mine)


def index_arguments(request: Mapping[str, Any]) -> list[str]:
    """The arguments for uv and pip that say where to find dependencies."""
    found = ["--index-url", request["index_url"]] if request["index_url"] else []
    for option, urls in (("--extra-index-url", request["extra_index_url"]), ("--find-links", request["find_links"])):
        for url in urls:
            found += [option, url]
    return found


def pip_version() -> tuple[int, ...]:
    """Return the version of this Python's pip, or () if it has none."""
    try:
        return tuple(map(int, version("pip").split(".")[:2]))
    except PackageNotFoundError:
        return ()


def find_uv() -> str | None:
    """Find the command `uv` on PATH or beside this Python, whose environment need not be active."""
    return shutil.which("uv") or shutil.which("uv", path=os.path.dirname(sys.executable))


def index_of_pip(environ: Mapping[str, str]) -> dict[str, str]:
    """Return a site's indexes as variables for uv, which does not read pip's settings, where sites and users set them.

    The files are those in pip's documentation, "Configuration". Returns nothing if uv has indexes of its own.
    """
    if any(name.startswith("UV_") and "INDEX" in name for name in environ):
        return {}
    home = environ.get("HOME", "")
    directories = [
        *environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":"),
        environ.get("XDG_CONFIG_HOME") or f"{home}/.config",
    ]
    files = [f"{directory}/pip/pip.conf" for directory in directories]
    files += ["/etc/pip.conf", f"{home}/.pip/pip.conf", f"{sys.prefix}/pip.conf", environ.get("PIP_CONFIG_FILE", "")]
    parser = RawConfigParser(strict=False)
    parser.read([] if files[-1] == os.devnull else files)
    found: dict[str, str] = {}
    for key, name in _OF_PIP.items():
        values = [environ.get(f"PIP_{key.upper().replace('-', '_')}", "")]
        values += [parser.get(section, key, fallback="") for section in ("install", "global")]
        if words := next((text.split() for text in values if text.strip()), []):
            found[name] = ("," if name == "UV_FIND_LINKS" else " ").join(words)
    return {**found, "UV_INDEX_STRATEGY": "unsafe-best-match"}  # pip also takes the best match of several indexes


def run(log: IO[bytes], environ: dict[str, str], *argv: object) -> None:
    """Run a command, and copy its output to the log and to standard error. Raises CalledProcessError."""
    words = list(map(str, argv))
    with subprocess.Popen(
        words, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        for printed in process.stdout or ():
            line = _PASSWORD.sub(rb"\1***@", printed)
            log.write(line)
            sys.stderr.buffer.write(line)
    sys.stderr.flush()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words[:3])


if __name__ == "__main__":
    main()
