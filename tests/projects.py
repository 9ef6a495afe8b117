"""Small projects that build without any build tool from elsewhere, and wheels for them to depend on."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

# A build backend (PEP 517) that lies in the project itself, so that nothing is fetched to build it.
_BACKEND = """\
import sys
import zipfile
from pathlib import Path


def write(directory, name, version, files, requires=(), tag="py3-none-any"):
    info = f"{name}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\nProvides-Extra: more\\n"]
    metadata += [f"Requires-Dist: {requirement}\\n" for requirement in requires]
    files = {**files, f"{info}/METADATA": "".join(metadata)}
    files[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: {tag}\\n"
    files[f"{info}/RECORD"] = "".join(f"{name},,\\n" for name in [*files, f"{info}/RECORD"])
    path = Path(directory, f"{name}-{version}-{tag}.whl")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path.name


def build_wheel(directory, config_settings=None, metadata_directory=None):
    SETTINGS
    files = {str(path.relative_to("src")): path.read_text() for path in Path("src").rglob("*.py")}
    return write(directory, NAME, "1.2", files, REQUIRES, TAG)
"""


def project(
    directory: Path,
    name: str,
    code: str,
    *,
    requires: tuple[str, ...] = (),
    tag: str = "py3-none-any",
    building: str = "",
) -> Path:
    """A project with a package of its name; `building` is done when it is built."""
    (directory / "src" / name).mkdir(parents=True)
    (directory / "src" / name / "__init__.py").write_text(textwrap.dedent(code))
    (directory / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        f'[project]\nname = "{name}"\nversion = "1.2"\n'
    )
    backend = _BACKEND.replace("NAME", repr(name)).replace("REQUIRES", repr(requires)).replace("TAG", repr(tag))
    (directory / "backend.py").write_text(backend.replace("SETTINGS", building or "pass"))
    return directory


def wheel(
    directory: Path, name: str, code: str, version: str = "1.0", *, files: Mapping[str, str] | None = None
) -> None:
    """A wheel of one module, and of further files."""
    directory.mkdir(exist_ok=True)
    scope: dict[str, object] = {}
    exec(_BACKEND.replace("SETTINGS", "pass"), scope)  # noqa: S102 - the text above
    write = scope["write"]
    assert callable(write)
    write(directory, name, version, {f"{name}.py": code, **(files or {})})
