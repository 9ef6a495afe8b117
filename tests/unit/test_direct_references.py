"""Requirements with URLs, in texts and in the metadata of wheels."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

import pytest

from projects import wheel
from slurm.environments.direct_references import Reference, copy_without_urls, versions_of, without_url


@pytest.mark.parametrize(
    ("requirement", "found", "replaced"),
    [
        ("my.lib @ git+https://host/x.git", ("my.lib", "", "git+https://host/x.git", ""), "my.lib==1"),
        ("my_lib[a,b]@ https://host/x;y ; os_name == 'nt'", None, "my_lib[a,b]==1 ; os_name == 'nt'"),
        ("My-Lib @ file:///a%20b/c", ("My-Lib", "", "file:///a%20b/c", ""), "My-Lib==1"),
        ("other @ file:///x", ("other", "", "file:///x", ""), "other @ file:///x"),
        ("my-lib>=2; extra == 'a@b'", None, "my-lib>=2; extra == 'a@b'"),
        ("my-lib", None, "my-lib"),
    ],
)
def test_url_of_a_requirement_is_replaced_by_a_version(
    requirement: str, found: tuple[str, ...] | None, replaced: str
) -> None:
    assert found is None or Reference.parse(requirement) == found
    assert without_url(requirement, {"my-lib": "==1"}) == replaced


def test_only_file_urls_have_a_path() -> None:
    paths = [Reference("x", "", url, "").path for url in ("file:///a%20b/c", "file://localhost/d", "git+file:///e")]
    assert paths == ["/a b/c", "/d", None]


def test_wheel_is_copied_without_urls_and_lists_its_files(tmp_path: Path) -> None:
    wheel(tmp_path / "in", "main", "")
    [source] = (tmp_path / "in").iterdir()
    name = "main-1.0.dist-info/METADATA"
    with zipfile.ZipFile(source) as old:
        files = {each: old.read(each) for each in old.namelist()}
    files[name] += b"Requires-Dist: lib @ git+https://h/x ; extra == 'a'\nrequires-dist: other @ file:///x\n\nlib @ y\n"
    (tmp_path / "in" / source.name).unlink()
    with zipfile.ZipFile(source, "w") as new:
        for each, data in files.items():
            new.writestr(each, data)
    assert copy_without_urls(source, tmp_path / "out", {}) == source
    copy = copy_without_urls(source, tmp_path / "out", {"lib": "==2"})
    assert (copy.parent, copy.name) == (tmp_path / "out", source.name)
    with zipfile.ZipFile(copy) as archive:
        text = archive.read(name)
        record = archive.read("main-1.0.dist-info/RECORD").decode().splitlines()
        assert archive.namelist() == list(files)
    lines = text.decode().splitlines()
    assert "Requires-Dist: lib==2 ; extra == 'a'" in lines
    assert "requires-dist: other @ file:///x" in lines
    assert lines[-1] == "lib @ y"
    digest = base64.urlsafe_b64encode(hashlib.sha256(text).digest()).rstrip(b"=").decode()
    assert f"{name},sha256={digest},{len(text)}" in record


def test_name_with_several_versions_has_none() -> None:
    paths = map(Path, ["a_b-1.0-py3-none-any.whl", "c-1-py3-none-any.whl", "c-2-py3-none-any.whl"])
    assert versions_of(paths) == {"a-b": "==1.0", "c": ""}
