"""Build the documentation site: `python docs/build_site.py [directory]`, as `nox -s docs` does. Needs Zensical.

The pages in `docs/` are written for a repository, so a copy of them is built in which links to other files of the
repository lead to copies of those files. Pages of the docstrings are added. Warnings are errors: each link must lead
somewhere.

The site of each version is in a directory of its own, beside those of others that are there already.
"""

from __future__ import annotations

import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import slurm
from slurm import errors

PROJECT = Path(__file__).parents[1]
LINK = re.compile(r"\[([^]]*)\]\((?:\.\./)+((?:examples|README|CHANGELOG|CONTRIBUTING|Slurmfile)[^)#]*)\)")
"""A link out of `docs/`."""


def main(target: Path) -> None:
    """Build the site of this version below `target`, and write the list of the versions that are there."""
    stage = PROJECT / "build" / "site"
    shutil.rmtree(stage, ignore_errors=True)
    pages = stage / "docs"
    shutil.copytree(PROJECT / "docs", pages, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    shutil.copy(PROJECT / "mkdocs.yml", stage)
    shutil.copy(PROJECT / "CHANGELOG.md", pages)
    for page in pages.rglob("*.md"):
        page.write_text(_within_site(page.read_text(), pages, depth=len(page.relative_to(pages).parts) - 1))
    (pages / "reference" / "docstrings.md").write_text(_docstrings())
    subprocess.run([sys.executable, "-m", "zensical", "build", "--strict", "--clean"], cwd=stage, check=True)
    place = target / slurm.__version__
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(stage / "site", place)
    versions = sorted((path.name for path in target.iterdir() if path.is_dir()), reverse=True)
    listed = [{"version": version, "title": version, "aliases": []} for version in versions]
    (target / "versions.json").write_text(json.dumps(listed))
    (target / "index.html").write_text(f'<meta http-equiv="refresh" content="0; url={slurm.__version__}/index.html">\n')


def _within_site(text: str, pages: Path, depth: int) -> str:
    """A page whose links to files of the repository lead to copies; a directory is named without a link."""

    def copied(link: re.Match[str]) -> str:
        label, path = link.groups()
        if path == "CHANGELOG.md":
            return f"[{label}]({'../' * depth}{path})"
        if not (PROJECT / path).is_file():
            return label
        target = pages / "files" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / path, target)
        return f"[{label}]({'../' * depth}files/{path})"

    # Two headings that differ by case alone: a repository names the anchor of the second task-1, the site task_1.
    return LINK.sub(copied, text).replace("](docs/", "](").replace("#task-1)", "#task_1)")


def _docstrings() -> str:
    """The page that shows the docstring of each public name."""
    named = {name: getattr(slurm, name) for name in slurm.__all__} | vars(errors)
    homes = {
        f"::: {thing.__module__}.{thing.__qualname__}": name
        for name, thing in named.items()
        if (inspect.isclass(thing) or inspect.isfunction(thing)) and thing.__module__.startswith("slurm.")
    }
    sections = (f"{home}\n    options:\n      heading: {name}\n" for home, name in homes.items())
    return "\n".join(
        ("# Docstrings\n", "The docstrings of all public names. The [API](api.md) tells how to use them.\n", *sections)
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else PROJECT / "build" / "documentation"))
