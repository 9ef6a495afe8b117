"""Slurmfile: the settings of clusters, and errors that name every problem by file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from slurm import Cluster, Retry
from slurm.errors import SlurmfileError
from slurm.options import Options
from slurm.slurmfile import TOP, ClusterEntry, load, names
from slurm.slurmfile.entry import KEYS
from slurm.slurmfile.reader import Problem
from slurm.slurmfile.sources import source
from unit.strategies import CHARACTERS

EXAMPLE = Path(__file__).parents[2] / "Slurmfile.example"


@pytest.fixture(autouse=True)
def no_slurmfile_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("SLURMFILE", "SLURMFILE_PROFILE"):
        monkeypatch.delenv(name, raising=False)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "Slurmfile"
    path.write_text(text)
    return path


def test_the_example_is_read_as_documented() -> None:
    assert names(source(EXAMPLE)) == ("laptop", "cpu", "gpu")
    assert load(path=EXAMPLE).url == "local"
    assert dict(load("cpu", EXAMPLE).options.set()) == {"time": "12:30:00", "mem": "4G", "cpus_per_task": "2"}
    gpu = load("gpu", EXAMPLE)
    assert (gpu.url, gpu.root, gpu.python, gpu.login_shell) == ("slurm", "~/slurm-jobs", "python3", False)
    assert dict(gpu.options.set()) == {
        "time": "12:30:00",
        "cpus_per_task": "2",
        "partition": "gpu,gpu-short",
        "gpus": "1",
        "requeue": True,
        "mem_per_gpu": "16G",
        "retry": Options.parse({"retry": Retry(times=3, mem="x2", exclude_failed_node=True)}).get("retry"),
        "signal_lead": "300",
        "workers": "4",
    }
    assert gpu.options.sbatch == {"--ntasks-per-node": "1"}
    assert gpu.modules == ("gcc/12", "cuda/12.4")
    assert [(named.path, named.arguments) for named in gpu.callbacks] == [
        ("slurm.callbacks.LoggingCallback", {}),
        ("slurm.callbacks.WebhookCallback", {"url_file": "~/.config/webhook", "failures": True}),
    ]
    assert gpu.setup == ("export NCCL_DEBUG=WARN", "if [ -d /local ]; then\n    export TMPDIR=/local\nfi\n")


def test_the_example_has_every_key() -> None:
    top = yaml.load(EXAMPLE.read_text(), Loader=yaml.BaseLoader)  # noqa: S506 - it makes texts only
    assert set(top) == set(TOP)
    assert {key for cluster in top["clusters"].values() for key in cluster} == set(KEYS)


def test_a_cluster_has_the_settings_of_its_entry(tmp_path: Path) -> None:
    path = written(tmp_path, f"clusters: {{here: {{url: local, root: {tmp_path}/jobs, options: {{mem: 1G}}}}}}")
    cluster = Cluster.from_slurmfile("here", path=path)
    assert cluster.url == f"local://{tmp_path}/jobs"
    assert cluster.options.get("mem") == "1G"


def test_the_nearest_file_upward_counts_before_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / "project" / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    with pytest.raises(SlurmfileError, match="there is no Slurmfile"):
        source()
    users = tmp_path / "config" / "slurm-tasks" / "Slurmfile"
    users.parent.mkdir(parents=True)
    users.touch()
    assert source().path == users
    (tmp_path / "project" / "Slurmfile").touch()
    assert source().path == tmp_path / "project" / "Slurmfile"
    monkeypatch.setenv("SLURMFILE", str(EXAMPLE))
    assert source().path == EXAMPLE
    monkeypatch.setenv("SLURMFILE_PROFILE", "cpu")
    assert load().options.get("mem") == "4G"
    assert load("laptop").url == "local"
    monkeypatch.setenv("SLURMFILE_PROFILE", "cpus")
    with pytest.raises(SlurmfileError, match=r"no cluster 'cpus', which \$SLURMFILE_PROFILE names: did you mean 'cpu'"):
        load()


EXTENDED = """\
default: training
clusters:
  site: {url: slurm, root: ~/a, modules: gcc, setup: [umask 077], options: {mem: 1G, qos: low, sbatch: {--a: 1}}}
  gpu:
    extends: site
    root: ~/b
    modules: [cuda]
    options: {mem_per_cpu: 2G, partition: gpu}
  training:
    extends: gpu
    root: null
    setup: ulimit -c 0
    options: {qos: null, sbatch: {--b: 2}}
"""


def test_an_entry_overrides_the_one_that_it_extends(tmp_path: Path) -> None:
    found = load(path=written(tmp_path, EXTENDED))
    assert (found.url, found.root) == ("slurm", None)
    assert (found.modules, found.setup) == (("gcc", "cuda"), ("umask 077", "ulimit -c 0"))
    assert dict(found.options.set()) == {"mem_per_cpu": "2G", "partition": "gpu"}
    assert found.options.sbatch == {"--a": "1", "--b": "2"}


def test_every_setting_has_its_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, EXTENDED)
    monkeypatch.setenv("SLURMFILE", str(path))
    told = {(setting.key, setting.value): setting[2:] for setting in load().settings}
    assert told["file", str(path)] == ("$SLURMFILE", None)
    assert told["cluster", "training"] == (f"{path}:1", None)
    assert told["url", "slurm"] == (f"{path}:3", "site")
    assert told["modules", "cuda"] == (f"{path}:7", "gpu")
    assert told["setup", "ulimit -c 0"] == (f"{path}:12", None)
    assert told["options.mem_per_cpu", "2G"] == (f"{path}:8", "gpu")
    assert told["options.sbatch.--b", "2"] == (f"{path}:13", None)
    assert ("login_shell", "no") in told
    assert [origin for (key, _), origin in told.items() if key == "root"] == [("default", None)]
    monkeypatch.setenv("SLURMFILE_PROFILE", "gpu")
    assert ("cluster", "gpu", "$SLURMFILE_PROFILE", None) in load().settings


def test_all_errors_are_reported_at_once(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """\
defualt: a
clusters:
  a:
    ulr: local
    login_shell: perhaps
    modules: [{x: y}]
    callbacks: [notify]
    environment: weel
    options:
      tiem: 3
      time: soon
      mem: 1G
      mem_per_cpu: 1G
      partition: {a: b}
      sbatch: {--array: 1, no: 2}
  b: {extends: c}
  c: {extends: b}
  d: {extends: e}
  e: {url: "http://x"}
""",
    )
    with pytest.raises(SlurmfileError) as caught:
        load("a", path)
    assert [(problem.line, problem.key) for problem in caught.value.problems] == [
        (1, "defualt"),
        (4, "clusters.a.ulr"),
        (5, "clusters.a.login_shell"),
        (6, "clusters.a.modules"),
        (7, "clusters.a.callbacks"),
        (8, "clusters.a.environment"),
        (9, "clusters.a.options"),
        (10, "clusters.a.options.tiem"),
        (11, "clusters.a.options.time"),
        (14, "clusters.a.options.partition"),
        (15, "clusters.a.options.sbatch.--array"),
        (15, "clusters.a.options.sbatch.no"),
        (16, "clusters.b.extends"),
        (19, "clusters.e.url"),
    ]
    text = str(caught.value)
    assert text.splitlines() == [str(problem) for problem in caught.value.problems]
    assert f"{path}, line 1: defualt: unknown key: did you mean 'default'?" in text
    assert "line 10: clusters.a.options.tiem: sbatch has no option tiem: did you mean time?" in text
    assert "line 16: clusters.b.extends: extends itself: b → c → b" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clusters:\n  a:\n    root: /x\n", "line 2: clusters.a: has no url"),
        ("clusters: {a: {url: local}, a: {url: slurm}}\n", "line 1: clusters.a: duplicate key, first in line 1"),
        ("clusters: [1]\n", "line 1: clusters: expected a mapping"),
        ("clusters: {b: {url: local}}\n", "line 1: there is no cluster 'a'; known names: b"),
        ("clusters:\n  a: [\n", "line 3: not YAML: "),
        ('[clusters.a]\nurl = "local"\n', "not YAML: .* A Slurmfile is YAML; is this TOML"),
        ("", "line 1: the file is empty"),
        ("default: b\nclusters: {a: {url: local}}\n", "line 1: default: there is no cluster 'b'; known names: a"),
        ("clusters: {a: {url: slrum}}", "line 1: clusters.a.url: there is no scheduler 'slrum'"),
        ("clusters: {a: {url: local, root: $NOWHERE/x}}", r"line 1: clusters.a.root: '\$NOWHERE/x': the variable NOW"),
        ("clusters: {a: {url: local, root: x}}", "line 1: clusters.a.root: root 'x': write an absolute path"),
        (
            "clusters: {a: {options: {}}, b: {extends: a, url: local}}",
            "line 1: clusters.a: has no url, so it can",
        ),
        ("clusters: {a: {extends: A, url: local}, Aa: {url: local}}", "line 1: clusters.a.extends: there is no cluste"),
        ("clusters: {x: &x {url: local}, a: {<<: *x}}", "line 1: clusters.a.<<: merge keys are not supported"),
        ("clusters: {a: {url: local, ? [b] : c}}", "expected a name"),
        ('clusters: {a: {url: local, setup: "\\0"}}', r"line 1: clusters.a.setup: '\\x00': expected one line"),
    ],
)
def test_an_error_names_the_file_the_line_and_the_key(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SlurmfileError, match=f"{path}, .*{message}") as caught:
        load("a", path)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("time: 12:30:00", ("time", "12:30:00")),
        ("time: 1-12", ("time", "1-12")),
        ("job_name: 1e-3", ("job_name", "1e-3")),
        ("account: no", ("account", "no")),
        ("account: 010", ("account", "010")),
        ("account: 2030-01-02", ("account", "2030-01-02")),
        ("exclusive: no", None),
        ("exclusive: user", ("exclusive", "user")),
        ("hold: on", ("hold", True)),
        ("mem: null", None),
        ("mem:", None),
        ("mem: ~", None),
        ('account: "null"', ("account", "null")),
        ("nodelist: [n1, n2]", ("nodelist", "n1,n2")),
    ],
)
def test_yaml_values_are_read_as_text(tmp_path: Path, value: str, read: tuple[str, object] | None) -> None:
    path = written(tmp_path, f"clusters:\n  a:\n    url: local\n    options:\n      {value}\n")
    assert list(load("a", path).options.set()) == ([read] if read else [])


def test_an_unreadable_or_missing_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for name, message in (("bytes", "not UTF-8"), ("none", "No such file"), (".", "Is a directory")):
        with pytest.raises(SlurmfileError, match=message):
            load("a", tmp_path / name)


WORDS = st.sampled_from([*KEYS, *TOP, "a", "b", "time", "mem", "sbatch", "hold", "--x", "~", "null", "yes", "$HOME/x"])
VALUES = st.recursive(
    WORDS | st.text(CHARACTERS, max_size=5) | st.none() | st.integers() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=6),
    max_leaves=25,
)
CLUSTERS = st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.sampled_from(KEYS), VALUES), max_size=3)
TREES = VALUES | st.builds(lambda clusters: {"clusters": clusters, "default": "a"}, CLUSTERS)
TEXTS = st.text(CHARACTERS, max_size=60) | st.text("abc:-[]{}&*!?|>'\"%@`#~<,\n \\xU0", max_size=80)


@given(TEXTS | TREES.map(lambda tree: str(yaml.safe_dump(tree, allow_unicode=True))))
@example("&a [*a]")
@example("clusters: &a {a: *a}")
@example("clusters: {a: {url: local, environment: &a [*a]}}")
@example("[" * 1500)
@example('"\\UFFFFFFFF"')
@example("%YAML 1." + "1" * 5000)
@example("a: 1\n---\nb: 2\n")
@example("clusters: {a: {url: local, python: !!python/object:os.system x, ? !!binary x : y}}")
def test_any_text_is_a_cluster_or_errors_with_lines(tmp_path: Path, text: str) -> None:
    path = tmp_path / "Slurmfile"
    path.write_bytes(text.encode(errors="surrogatepass"))
    refused = []
    for name in (None, "a"):
        try:
            found = load(name, path)
        except SlurmfileError as error:
            refused.append(error)
        else:
            assert isinstance(found, ClusterEntry)
            Cluster.from_slurmfile(name, path=path)
    assert all(str(error) for error in refused)
    assert all(isinstance(problem, Problem) and problem.line > 0 for error in refused for problem in error.problems)
