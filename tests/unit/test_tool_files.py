"""The files of a tool's run: names of directories, manifests, templates, and values replaced in YAML."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from slurm.tools.errors import ManifestError, RunDirectoryError, TemplateError, ToolError
from slurm.tools.manifest import ManifestBase, load_manifest, validate_manifest, write_manifest
from slurm.tools.overrides import overridden
from slurm.tools.run_directory import build_run_dir, ensure_run_dir, validate_run_dir
from slurm.tools.templates import get_template_path, list_templates, template_files

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = ManifestBase(
    tool="pyuvsim", run_id="ref1", taxonomy={"telescope": "HERA"}, created_utc="2026-01-02T03:04:05Z", url="local"
)

TEXT = """\
# Parameters of a run
filing:
  outdir: "."          # relative to here
  outfile_name: 'small'
freq:
  Nfreqs: 2  # channels
  start_freq: 1e8
  bands: [1, 2]
beam: !AnalyticBeam
  class: Uniform
empty:
list:
  - a
  - b   # second
last: yes
"""


class TestDirectories:
    def test_the_folders_are_tool_taxonomy_and_run(self, tmp_path: Path) -> None:
        path = build_run_dir(tmp_path, "pyuvsim", {"telescope": "HERA", "observation_id": 2458098}, "ref1")
        assert path == tmp_path / "pyuvsim" / "HERA" / "2458098" / "ref1"
        assert not path.exists()

    def test_fifty_unique_runs_in_one_second_differ(self, tmp_path: Path) -> None:
        assert len({build_run_dir(tmp_path, "t", {}, "r", unique=True) for _ in range(50)}) > 45
        made = [ensure_run_dir(build_run_dir(tmp_path, "t", {}, "r", unique=True)) for _ in range(3)]
        assert all(path.is_dir() for path in made)

    @pytest.mark.parametrize(
        "name", ["../x", "..", ".", "", "a b", "größe", "%j", "a/b", "-rf", "a\nb", "x\0y", ".hid"]
    )
    def test_a_name_that_is_no_folder_is_refused_by_what_it_is(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(RunDirectoryError, match="telescope"):
            build_run_dir(tmp_path, "pyuvsim", {"telescope": name}, "ref1")

    def test_the_error_says_what_to_write(self, tmp_path: Path) -> None:
        with pytest.raises(RunDirectoryError, match=r"run_id 'my run 1' .*: write 'my_run_1'"):
            build_run_dir(tmp_path, "t", {}, "my run 1")

    def test_a_prepared_and_a_strange_directory_are_not_taken(self, tmp_path: Path) -> None:
        run = ensure_run_dir(tmp_path / "run")
        assert ensure_run_dir(run) == run
        write_manifest(MANIFEST, run)
        with pytest.raises(RunDirectoryError, match="prepared already"):
            ensure_run_dir(run)
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "notes.txt").touch()
        with pytest.raises(RunDirectoryError, match=r"notes\.txt"):
            ensure_run_dir(tmp_path / "other")

    def test_what_is_not_prepared_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(RunDirectoryError, match="there is no run directory"):
            validate_run_dir(tmp_path / "nowhere")
        with pytest.raises(RunDirectoryError, match="not prepared"):
            validate_run_dir(tmp_path)


class TestManifests:
    def test_a_manifest_comes_back_and_never_changes(self, tmp_path: Path) -> None:
        path = write_manifest(MANIFEST, tmp_path)
        assert load_manifest(tmp_path) == MANIFEST
        assert path.stat().st_mode & 0o777 == 0o444
        assert [entry.name for entry in tmp_path.iterdir()] == ["manifest.json"]
        with pytest.raises(ManifestError, match="never changes"):
            write_manifest(MANIFEST, tmp_path)

    def test_fields_of_a_newer_version_are_ignored(self) -> None:
        data = {**json.loads(json.dumps(MANIFEST.__dict__)), "colour": "red"}
        assert validate_manifest(data) == MANIFEST

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"run_id": 7}, r"manifest\.json: run_id \(written by slurm-tasks .*\) is 7, expected str"),
            ({"taxonomy": {"a": 1}}, "taxonomy"),
            ({"format": 2}, "format 2 .* newer .* upgrade"),
            ({"template": 3}, "template"),
            ({"format": True}, "format"),
        ],
    )
    def test_a_wrong_field_is_named_with_the_version_that_wrote_it(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(ManifestError, match=message):
            validate_manifest({**MANIFEST.__dict__, **change})

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"tool": "x"}', "\0"])
    def test_a_damaged_file_is_an_error_of_tools(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(ToolError, match=r"manifest\.json"):
            load_manifest(tmp_path)


class TestOverrides:
    @pytest.mark.parametrize(
        ("key", "value", "line"),
        [
            ("freq.Nfreqs", 4, "  Nfreqs: 4  # channels"),
            ("freq.start_freq", 1.5e8, "  start_freq: 150000000.0"),
            ("freq.bands", [3], "  bands: [3]"),
            ("filing.outdir", "out dir", '  outdir: "out dir"          # relative to here'),
            ("filing.outfile_name", "big", "  outfile_name: big"),
            ("filing.outfile_name", "no", '  outfile_name: "no"'),
            ("filing.outfile_name", "1e-3", '  outfile_name: "1e-3"'),
            ("empty", 7, "empty: 7"),
            ("last", None, "last: null"),
            ("last", True, "last: true"),
        ],
    )
    def test_one_override_changes_one_line(self, key: str, value: object, line: str) -> None:
        before, after = TEXT.splitlines(), overridden(TEXT, {key: value}, name="o.yaml").splitlines()
        changed = [new for old, new in zip(before, after, strict=True) if old != new]
        assert changed == [line]

    def test_a_block_list_becomes_one_line(self) -> None:
        after = overridden(TEXT, {"list": [1, "x y"]}, name="o.yaml")
        assert after == TEXT.replace("list:\n  - a\n  - b   # second\n", 'list: [1, "x y"]\n')

    def test_a_json_file_stays_json(self) -> None:
        text = '{\n  "mode": "fast",\n  "freq": {"Nfreqs": 2, "bands": [1]}\n}\n'
        after = overridden(text, {"mode": "slow", "freq.bands": ["a", None], "freq.Nfreqs": 4}, name="case.json")
        assert after == text.replace("fast", "slow").replace("[1]", '["a", null]').replace("2", "4")
        assert json.loads(after)["mode"] == "slow"

    def test_a_mapping_changes_what_it_names(self) -> None:
        after = overridden(TEXT, {"freq": {"Nfreqs": 8, "bands": []}}, name="o.yaml")
        assert after == TEXT.replace("Nfreqs: 2 ", "Nfreqs: 8 ").replace("[1, 2]", "[]")

    def test_a_tag_stays(self) -> None:
        assert "beam: !AnalyticBeam\n  class: Gaussian\n" in overridden(TEXT, {"beam.class": "Gaussian"}, name="o.yaml")

    def test_without_overrides_every_byte_stays(self) -> None:
        assert overridden(TEXT, {}, name="o.yaml") == TEXT

    @pytest.mark.parametrize(
        ("key", "message"),
        [
            ("freq.Nfreq", "o.yaml has no key 'freq.Nfreq': did you mean 'freq.Nfreqs'"),
            ("frequency.Nfreqs", "has no key"),
            ("last.x", "'last' is not a mapping"),
        ],
    )
    def test_an_unknown_key_is_told_with_the_nearest(self, key: str, message: str) -> None:
        with pytest.raises(TemplateError, match=message):
            overridden(TEXT, {key: 1}, name="o.yaml")

    @pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}, [b"x"]])
    def test_a_value_that_yaml_does_not_have_is_refused(self, value: object) -> None:
        with pytest.raises(TemplateError, match=r"freq\.Nfreqs"):
            overridden(TEXT, {"freq.Nfreqs": value}, name="o.yaml")

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=4,
        )
    )
    def test_a_value_is_read_as_it_was_given(self, value: object) -> None:
        text = overridden(TEXT, {"freq.Nfreqs": value, "list": value}, name="o.yaml")
        found = yaml.load(text.replace("!AnalyticBeam", ""), Loader=yaml.SafeLoader)
        assert json.dumps(found["freq"]["bands"]) == "[1, 2]"
        assert found["list"] == found["freq"]["Nfreqs"] == value
        assert repr(found["list"]) == repr(value)


class TestTemplates:
    def test_templates_are_directories_and_yield_their_files(self, tmp_path: Path) -> None:
        (tmp_path / "small" / "layout").mkdir(parents=True)
        (tmp_path / "small" / "obsparam.yaml").touch()
        (tmp_path / "small" / "layout" / "tri.csv").touch()
        (tmp_path / "_hidden").mkdir()
        assert list_templates(tmp_path) == ["small"]
        assert [name for name, _ in template_files(get_template_path(tmp_path, "small"))] == [
            "layout/tri.csv", "obsparam.yaml",
        ]  # fmt: skip
        assert get_template_path(tmp_path / "no", f"{tmp_path}/small") == tmp_path / "small"

    def test_an_unknown_template_is_told_with_the_nearest(self, tmp_path: Path) -> None:
        (tmp_path / "small").mkdir()
        with pytest.raises(TemplateError, match=r"no template 'smal' .*: did you mean 'small'"):
            get_template_path(tmp_path, "smal")

    def test_a_link_that_leaves_the_template_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "t").mkdir()
        (tmp_path / "t" / "x").symlink_to("/etc/hostname")
        with pytest.raises(TemplateError, match="a link that leaves"):
            list(template_files(tmp_path / "t"))
