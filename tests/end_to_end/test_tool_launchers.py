"""Conda, modules, containers, srun and GPUs around the stage of a tool, in a job and by its script without one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from end_to_end.test_setup import INIT, STAND_IN_FOR_CONDA
from slurm import Cluster, Conda, Container, Modules
from slurm.errors import ConfigurationError
from slurm.tools import Stage, Tool
from slurm.tools.bayeseor import BayesEoR
from slurm.tools.launchers import CondaRunner, ContainerRunner
from slurm.tools.pyuvsim import Pyuvsim
from testbed.containers import BARE

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurm.tools import Run
    from testbed.containers import ContainerTestbed
    from testbed.slurm import SlurmTestbed

SHOW = 'echo "$VALUE ${CONDA_DEFAULT_ENV-} ${GCC-}" > out.txt'
"""Only words that a shell has itself: an image may have no other program."""


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    directory = tmp_path / "templates"
    (directory / "small").mkdir(parents=True)
    (directory / "small" / "show.sh").write_text(SHOW)
    return directory


def prepared(templates: Path, on: Cluster, **options: Any) -> Run:
    """A run of a tool with one stage, which shows in what it runs."""

    class Show(Tool):
        name = "show"
        show = Stage("sh config/show.sh", products=["out.txt"], env={"VALUE": "it's $5"}, **options)

    Show.templates = templates
    return Show.prepare("r1", template="small", root=templates.parent / "runs", on=on)


def by_hand(run: Run, *start: str) -> str:
    """What the script writes without a job."""
    here = run.directory.parents[2] / "by hand"
    here.mkdir()
    script = run.directory / "stages" / "show.sh"
    done = subprocess.run([*(start or ["bash"]), script], cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return (here / "out.txt").read_text()


def in_a_job(run: Run, cluster: Cluster) -> str:
    return run.submit("show", on=cluster)["show"].result(120).products[0].read_text()


def test_a_stage_runs_in_a_conda_environment(
    local: Cluster, templates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conda = tmp_path / "miniforge3" / "bin" / "conda"
    conda.parent.mkdir(parents=True)
    (tmp_path / "miniforge3" / "envs" / "tools" / "bin").mkdir(parents=True)
    conda.write_text(STAND_IN_FOR_CONDA.replace("conda() {", "conda() {\n    : $A_VARIABLE_THAT_IS_NOT_SET"))
    conda.chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    run = prepared(templates, local, environment=Conda("tools"))
    assert in_a_job(run, local) == by_hand(run) == "it's $5 tools \n"
    assert CondaRunner("tools").activation_commands() == list(Conda("tools").steps)


def test_a_stage_runs_with_modules(
    local: Cluster, templates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not INIT.exists():
        pytest.skip("Environment Modules is not installed: apt-get install environment-modules")
    directory = tmp_path / "modulefiles"
    (directory / "gcc").mkdir(parents=True)
    (directory / "gcc" / "12").write_text("#%Module\nsetenv GCC twelve\n")
    monkeypatch.setenv("MODULEPATH", str(directory))
    run = prepared(templates, local, environment=Modules("gcc/12"))
    assert in_a_job(run, local) == by_hand(run) == "it's $5  twelve\n"


def test_a_module_that_is_missing_ends_the_script(local: Cluster, templates: Path) -> None:
    run = prepared(templates, local, environment=Modules("no/such/module"))
    done = subprocess.run(
        ["bash", run.directory / "stages/show.sh"], cwd=templates, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "no" in done.stderr
    assert not (templates / "out.txt").exists()


@pytest.mark.parametrize("runtime", ["podman", "apptainer"])
def test_a_stage_runs_in_an_image_that_has_a_shell_and_no_python(
    runtime: str,
    local: Cluster,
    templates: Path,
    containers: ContainerTestbed,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(templates)
    if runtime == "podman":
        image = Container(BARE, runtime="podman", builder="podman")
    else:
        options = request.getfixturevalue("apptainer")
        tree = shutil.copytree(containers.directory / "tree", templates.parent / "image", symlinks=True)
        image = Container(str(tree), runtime="apptainer", runtime_options=options)
    run = prepared(templates, local, environment=image)
    assert in_a_job(run, local) == "it's $5  \n"
    assert by_hand(run) == "it's $5  \n"


def test_the_prefix_of_a_container_has_its_mounts_gpus_and_variables() -> None:
    runner = ContainerRunner("/images/a b.sif", mounts=["/data:/data:ro"], gpus=True, env={"A": "x y"})
    assert runner.exec_prefix() == (
        "env APPTAINER_NO_EVAL=1 APPTAINERENV_A='x y' apptainer --silent exec --cleanenv --no-home --nv --bind \"$PWD\""
        " --bind /data:/data:ro --pwd \"$PWD\" '/images/a b.sif'"
    )
    podman = ContainerRunner("docker.io/library/alpine:3", runtime="podman", gpus="amd", network=False).exec_prefix()
    assert podman.startswith("podman run --rm --network=none --security-opt label=disable --device /dev/kfd")
    assert podman.endswith('--entrypoint= --workdir "$PWD" --volume "$PWD":"$PWD" docker.io/library/alpine:3')
    with pytest.raises(ConfigurationError, match="pyxis starts containers in jobs only"):
        ContainerRunner("docker.io/library/alpine:3", runtime="pyxis").exec_prefix()


@pytest.mark.slurm
def test_sbatch_takes_the_script_of_a_stage_as_it_is(slurm_env: SlurmTestbed, root: Path, templates: Path) -> None:
    with Cluster("slurm", root=root) as cluster:
        run = prepared(templates, cluster, time="5:00", ntasks=2, launch="mpi", mpi="none", cpus_per_task=1)
    assert "program srun" in (run.directory / "stages/show.sh").read_text()
    assert by_hand(run, "sbatch", "--wait") == "it's $5  \n"


EVERY_KIND: dict[str, Any] = {
    "account": "physics", "acctg_freq": "task=30", "begin": "now+1hour", "comment": "two 'words'", "constraint": "avx",
    "contiguous": True, "cores_per_socket": 1, "deadline": "2099-01-01", "delay_boot": "10", "cpu_freq": "high",
    "distribution": "block:cyclic", "exclude": "n2", "export": ["ALL", "A"], "extra_node_info": "1:1:1",
    "gpu_freq": "high", "gpus": 1, "gpus_per_node": 1, "gres": "gpu:1", "gres_flags": "enforce-binding",
    "hint": "nomultithread", "hold": True, "job_name": "simulate", "mail_type": ["END", "FAIL"],
    "mail_user": "ann@example.org", "mem": "1G", "mem_bind": "none", "mem_per_cpu": "100M", "mincpus": 1, "nice": 10,
    "no_kill": True, "no_requeue": True, "nodelist": "n1", "nodes": "1-1", "exclusive": "user", "ntasks": 2,
    "ntasks_per_core": 1,
    "ntasks_per_node": 1, "ntasks_per_socket": 1, "open_mode": "append", "overcommit": True, "oversubscribe": True,
    "partition": "debug", "profile": "none", "propagate": "NONE", "requeue": True, "signal": "B:USR1@60",
    "sockets_per_node": 1, "spread_job": True, "switches": "1@0:10", "threads_per_core": 1, "time": "10:00",
    "time_min": "5:00", "use_min_nodes": True, "wait_all_nodes": 1, "wckey": "eor", "cpus_per_task": 2,
}  # fmt: skip
"""Options of every kind. Others need what this cluster lacks, such as licenses and reservations, or a later Slurm."""
TOGETHER: dict[str, Any] = {
    "gpus_per_task": 1,
    "ntasks": 1,
    "cpus_per_gpu": 2,
    "mem_per_gpu": "500M",
    "gpu_bind": "closest",
}


@pytest.mark.slurm
def test_sbatch_accepts_the_directives_of_every_option(
    new_testbed: Callable[..., SlurmTestbed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    testbed = new_testbed(gpu=True, memory=70_000, node_settings={"Feature": "avx"})
    for name, value in testbed.env.items():
        monkeypatch.setenv(name, value)
    names = {"telescope": "HERA", "observation_id": "1"}
    run = Pyuvsim.prepare("r", template="small", root=tmp_path, on="slurm", **names)  # type: ignore[arg-type]
    refused = {str(path): error for path in run.directory.glob("stages/*.sh") if (error := refusal(path))}
    names = {"dataset": "eor", "analysis": "a"}
    monkeypatch.setattr(BayesEoR, "max_path", 4000)
    run = BayesEoR.prepare("r", template="small", root=tmp_path, on="slurm", **names)  # type: ignore[arg-type]
    scripts = list(run.directory.glob("stages/*.sh"))
    assert len(scripts) == 3
    refused |= {str(path): error for path in scripts if (error := refusal(path))}
    for number, options in enumerate([TOGETHER, *({name: value} for name, value in EVERY_KIND.items())]):

        class One(Tool):
            name = "one"
            stage = Stage("true", **options)

        script = One.prepare(f"r{number}", root=tmp_path, on="slurm").directory / "stages/stage.sh"
        assert "#SBATCH --" in script.read_text()
        if error := refusal(script):
            refused[str(options)] = error
    assert not refused


def refusal(script: Path) -> str:
    """What sbatch says against a script."""
    done = subprocess.run(["sbatch", "--test-only", script], capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""
