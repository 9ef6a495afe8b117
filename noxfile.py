"""The definition of done: `nox` with no arguments."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True

PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")


@nox.session
def lint(session: nox.Session) -> None:
    """Style: ruff, all rules; shellcheck, which is not a Python package, so it must be on PATH."""
    session.install("ruff>=0.15")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("shellcheck", *sorted(map(str, Path("src").rglob("*.sh"))), external=True)


@nox.session
def types(session: nox.Session) -> None:
    """Types: mypy, strict, on src and tests; and pyright on what users write."""
    session.install("-e", ".[test,examples]", "pyright[nodejs]")
    session.run("mypy")
    session.run("pyright", "tests/unit/typing_examples.py")


@nox.session
def tests(session: nox.Session) -> None:
    """Everything, in several processes; tests of the real Slurm are skipped, with a word, where there is none."""
    session.install("-e", ".[test,examples]")
    session.run("pytest", *session.posargs)


@nox.session(python=False)
def dependencies(session: nox.Session) -> None:
    """Unit tests: oldest dependencies on the oldest Python here, the newest on each of the others.

    Arguments name the Pythons to take: `nox -s dependencies -- 3.10 3.13`.
    """
    found = {version: _python(version) for version in session.posargs or PYTHONS}
    for version in (version for version, python in found.items() if not python):
        session.warn(f"Python {version} is not installed here: not tested")
    oldest = True
    for version, python in found.items():
        if python:
            session.log(f"Python {version} with the {'oldest' if oldest else 'newest'} dependencies")
            _test_with(session, python, f"{version}-{'oldest' if oldest else 'newest'}", oldest=oldest)
            oldest = False


OTHER_RELEASES = ("20.11", "24.11")
"""The releases of Slurm that `nox -s generations` runs on, besides the installed one on which `tests` runs."""


def _report(session: nox.Session, tested: str) -> list[str]:
    """Options that write a report for tests/matrix.py, if SLURMTASKS_REPORTS names a directory. `tested` is its row."""
    directory = os.environ.get("SLURMTASKS_REPORTS")
    file = Path(directory or "").absolute() / f"{session.name}-{tested}.xml"
    return [f"--junitxml={file}", "-o", f"junit_suite_name={tested}"] if directory else []


def _of(module: str, *names: str) -> list[str]:
    return [f"{module}::{name}" for name in names]


TESTS_ON_OTHER_RELEASES = (
    "tests/test_testbed.py::test_the_release_that_was_asked_for_runs",
    "tests/test_testbed.py::test_two_clusters_share_one_accounting",
    # What Slurm's commands print and refuse, and in which words.
    "tests/contracts/test_schedulers.py",
    "tests/faults/test_submitting.py",
    *_of(
        "tests/end_to_end/test_calls.py",
        "test_a_call_returns_a_job_and_the_job_its_result",
        "test_an_array_mapped_over_an_array_waits_element_by_element",
        "test_cancel_ends_a_running_job_and_all_of_its_processes",
        "test_cancelling_an_array_takes_one_command",
        "test_fan_out_and_in_and_finished_upstreams",
        "test_max_concurrent_limits_how_many_run_at_once",
        "test_odd_names_and_options_arrive_unchanged",
        "test_threads_are_as_many_as_the_cpus_that_were_asked_for",
    ),
    *_of(
        "tests/end_to_end/test_errors.py",
        "test_a_failed_upstream_fails_its_dependents_and_is_named",
        "test_a_task_killed_by_a_signal_names_the_signal",
        "test_a_time_limit_ends_a_slurm_job",
        "test_elements_with_a_failed_element_upstream_fail_alone",
        "test_os_exit_leaves_an_outcome",
        "test_a_refusal_has_the_message_of_sbatch_and_the_script",
        "test_slurm_gets_the_exit_status_of_the_task",
    ),
    # States, reasons, requeues and limits differ most between releases.
    "tests/faults/test_limits.py",
    "tests/faults/test_accounting.py",
    "tests/faults/test_interrupted_workflows.py",
    *_of(
        "tests/faults/test_nodes.py",
        "test_job_held_by_an_administrator_continues_when_released",
        "test_failed_prolog_holds_the_job_with_the_reason",
        "test_job_past_its_deadline_is_not_started",
    ),
    *_of(
        "tests/faults/test_faults.py",
        "test_map_larger_than_max_array_size_is_queued_in_blocks",
        "test_failed_node_fails_its_job",
        "test_job_of_a_dead_node_is_requeued_and_runs_again",
        "test_requeued_job_is_the_second_attempt",
        "test_preempted_job_runs_again_or_raises",
        "test_held_job_is_pending_and_continues_when_released",
        "test_job_forgotten_by_slurm_is_lost",
        "test_cancelled_upstream_is_named_by_its_dependent",
    ),
)
"""The tests that tell one release of Slurm from another: about a minute and a half for each."""

SAME_ON_OTHER_RELEASES = (
    # Long, and about our own commands rather than Slurm's answers.
    *_of(
        "tests/faults/test_submitting.py",
        "test_map_of_thousands_is_cancelled_by_one_command",
        "test_thousands_of_ids_are_split_into_several_commands",
    ),
    *_of("tests/faults/test_limits.py", "test_max_concurrent_applies_to_deferred_blocks"),
)
"""Tests in the modules above that other releases need not run."""


@nox.session
def generations(session: nox.Session) -> None:
    """Those tests on other releases of Slurm; each is downloaded and unpacked once. Arguments are releases."""
    session.install("-e", ".[test]")
    for release in session.posargs or OTHER_RELEASES:
        env = {"SLURMTASKS_TEST_SLURM": release, "SLURMTASKS_REQUIRE_SLURM": "1", "SLURMTASKS_TEST_EVERY_URL": "1"}
        # Over SSH the same commands run: `box` is the name of the host in those tests.
        passed_over = [f"--deselect={test}" for test in SAME_ON_OTHER_RELEASES]
        options = ["-n", "4", "-m", "slurm", "-k", "not box", *_report(session, f"slurm-{release}")]
        session.run("pytest", *options, *passed_over, *TESTS_ON_OTHER_RELEASES, env=env)


@nox.session
def everywhere(session: nox.Session) -> None:
    """Run all tests, or those that the arguments name, on each URL and each release of Slurm that Debian has."""
    session.install("-e", ".[test,examples]")
    for release in ("20.11", "22.05", "24.11", "26.05"):
        session.log(f"Slurm {release}")
        env = {"SLURMTASKS_TEST_SLURM": release, "SLURMTASKS_REQUIRE_SLURM": "1", "SLURMTASKS_TEST_EVERY_URL": "1"}
        session.run("pytest", *_report(session, f"slurm-{release}"), *session.posargs, env=env)


TESTS_OF_CALLS = (
    *_of(
        "tests/end_to_end/test_calls.py",
        "test_a_call_returns_a_job_and_the_job_its_result",
        "test_after_orders_jobs_that_share_no_result",
        "test_an_array_mapped_over_an_array_waits_element_by_element",
        "test_cancel_ends_a_running_job_and_all_of_its_processes",
        "test_cancelling_an_array_takes_one_command",
        "test_fan_out_and_in_and_finished_upstreams",
        "test_logs_hold_what_the_task_printed",
        "test_max_concurrent_limits_how_many_run_at_once",
        "test_odd_names_and_options_arrive_unchanged",
        "test_threads_are_as_many_as_the_cpus_that_were_asked_for",
    ),
    *_of(
        "tests/end_to_end/test_errors.py",
        "test_a_failed_upstream_fails_its_dependents_and_is_named",
        "test_a_task_killed_by_a_signal_names_the_signal",
        "test_an_unexplained_end_shows_the_end_of_the_log",
        "test_elements_with_a_failed_element_upstream_fail_alone",
        "test_os_exit_leaves_an_outcome",
        "test_the_tasks_own_exception_is_raised_with_the_remote_traceback",
    ),
)
"""Tests of calls on any scheduler."""

TESTS_ON_GRID_ENGINE = (
    "tests/grid_engine",
    *TESTS_OF_CALLS,
)
"""The contract of a running scheduler, and calls, on a real Grid Engine: two minutes."""


@nox.session
def grid_engine(session: nox.Session) -> None:
    """Those tests on Grid Engine, which is downloaded and unpacked once. Needs root; arguments are tests instead."""
    session.install("-e", ".[test]")
    env = {"SLURMTASKS_TEST_GRID_ENGINE": "1"}
    options = ["-n", "2", *_report(session, "grid-engine")]
    session.run("pytest", *options, *(session.posargs or TESTS_ON_GRID_ENGINE), env=env)


TESTS_BY_SLURMRESTD = (
    "tests/slurmrest",
    *TESTS_OF_CALLS,
)
"""The contract suite for schedulers, and tests of calls, through a real slurmrestd. They take two minutes."""


@nox.session
def slurmrest(session: nox.Session) -> None:
    """Run these tests, or those that the arguments name, through slurmrestd. Needs root."""
    session.install("-e", ".[test]")
    env = {"SLURMTASKS_TEST_SLURMREST": "1", "SLURMTASKS_REQUIRE_SLURM": "1"}
    options = ["-n", "2", *_report(session, "slurmrestd")]
    session.run("pytest", *options, *(session.posargs or TESTS_BY_SLURMRESTD), env=env)


@nox.session
def tools(session: nox.Session) -> None:
    """The external tools themselves: pyuvsim on this machine and on the test cluster. Installs 600 MB; two minutes."""
    session.install("-e", ".[test]", "pyuvsim[sim]", "mpich")
    session.run("pytest", "-n", "2", "tests/tools", *session.posargs)


PEERS = (
    "dask-jobqueue>=0.9",
    "executorlib[cache]>=1.11",
    "hydra-submitit-launcher>=1.2",
    "joblib>=1.4",
    "parsl>=2026.1",
    "snakemake>=9",
    "submitit>=1.5",
)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation site below build/documentation; a link that leads nowhere is an error."""
    session.install("-e", ".", "zensical>=0.0.73", "mkdocstrings[python]>=1")
    session.run("python", "docs/build_site.py", *session.posargs)


@nox.session
def peers(session: nox.Session) -> None:
    """The programs of the pages "Coming from …" on the libraries themselves, and Hydra's submitit launcher on ours."""
    session.install("-e", ".[test]", *PEERS)
    sdk = Path(session.virtualenv.location, "slurm-sdk").absolute()  # its module has the name of ours
    session.run("python", "-m", "venv", str(sdk))
    session.run(str(sdk / "bin" / "pip"), "install", "--quiet", "slurm-sdk>=0.4.6", external=True)
    tests = ("tests/end_to_end/test_coming_from.py", "tests/end_to_end/test_hydra_submitit.py")
    env = {"SLURMTASKS_SLURM_SDK_PYTHON": str(sdk / "bin" / "python")}
    session.run("pytest", "-n", "2", *tests, *session.posargs, env=env)


@nox.session
def libraries(session: nox.Session) -> None:
    """Libraries that take an executor, and CPython's own tests of executors, on a pool. Installs 300 MB; a minute."""
    wanted = (
        "joblib>=1.4",
        "scikit-learn>=1.4",
        "scipy>=1.15",
        "dask>=2024.12",
        "emcee>=3.1",
        "adaptive>=1.3",
        "tqdm>=4.66",
    )
    session.install("-e", ".[test]", *wanted)
    session.run("pytest", "-n", "0", "tests/libraries", *session.posargs)


@nox.session
def clients(session: nox.Session) -> None:
    """Check each route of /openapi.json with schemathesis, a client that others wrote. Takes two minutes."""
    session.install("-e", ".[test]", "schemathesis>=4.32")
    session.run("pytest", "-n", "0", "tests/clients", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Kill clients, daemons and tasks 500 times: 250 times on local, as often on Slurm. Takes some ten minutes."""
    session.install("-e", ".[test]")
    session.run("pytest", "-n", "0", "-s", "tests/soak/test_kills.py", env={"SLURMTASKS_TEST_KILLS": "250"})


@nox.session
def mutation(session: nox.Session) -> None:
    """Change tracking and submission in a sample of places; unit tests must notice 80 %. Arguments are the script's."""
    session.install("-e", ".[test]")
    session.run("python", "tests/mutation.py", *session.posargs)


MEASURED_PEERS = {
    "peers": (
        "dask-jobqueue>=0.9",
        "executorlib[cache,cluster]>=1.11",
        "hydra-core>=1.3.2",
        "parsl>=2026.1",
        "signac>=2",
        "snakemake>=9",
        "submitit>=1.5",
    ),
    "slurm-sdk": ("slurm-sdk>=0.4.6", "paramiko<4"),  # its module is also named slurm; it fails with Paramiko 5
}
"""What docs/benchmarks.md compares with, in two environments: the option of benchmarks/run.py, and the packages."""


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Measure the budgets in docs/benchmarks.md and the other tools in one run of up to an hour. Installs 500 MB."""
    session.install("-e", ".[test]", "submitit>=1.5")
    options = []
    for name, packages in MEASURED_PEERS.items():
        python = Path(".nox", f"benchmarks-{name}", "bin", "python").absolute()
        session.run("python", "-m", "venv", str(python.parents[1]), silent=True)
        for package in packages:  # one by one: if a tool cannot be installed, its row says so
            install = (str(python), "-m", "pip", "install", "--quiet", package)
            session.run(*install, external=True, success_codes=[0, 1])
        options += [f"--{name}-python", str(python)]
    session.run("python", "benchmarks/run.py", *options, *session.posargs)


MOST_BYTES = {"*.whl": 1_320_000, "*.tar.gz": 3_500_000}
"""The largest sizes of the release's files. docs/explanation/dependencies.md says what the wheel contains."""
FIRST_PROGRAM = """\
import operator, os, sys
from slurm import Cluster, __version__, task
with Cluster("local", root=os.path.abspath("jobs")):
    assert task(operator.mul).map([2, 3], [4, 5]).results(120) == [8, 15]
print("slurm-tasks", __version__, "works with Python", sys.version.split()[0])
"""


@nox.session
def release(session: nox.Session) -> None:
    """Build wheel and sdist; install each in an empty environment of each Python here, and run a job outside the tree.

    Arguments name the Pythons to take: `nox -s release -- 3.10 3.13`.
    """
    session.install("build", "twine")
    built = Path("build", "release").absolute()
    shutil.rmtree(built, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(built))
    session.run("twine", "check", "--strict", *map(str, built.iterdir()))
    found = {version: _python(version) for version in session.posargs or PYTHONS}
    for version in (version for version, python in found.items() if not python):
        session.warn(f"Python {version} is not installed here: not tested")
    for pattern, most in MOST_BYTES.items():
        (file,) = built.glob(pattern)
        session.log(f"{file.name}: {file.stat().st_size:,} bytes")
        if file.stat().st_size > most:
            session.error(f"{file.name} is larger than {most:,} bytes")
        for python in filter(None, found.values()):
            _try_release(session, python, file)


def _try_release(session: nox.Session, python: str, file: Path) -> None:
    outside = Path(session.create_tmp()).absolute() / "empty"
    shutil.rmtree(outside, ignore_errors=True)
    session.run(python, "-m", "venv", str(outside), external=True, silent=True)
    own = str(outside / "bin" / "python")
    session.run(own, "-m", "pip", "install", "--quiet", str(file), external=True)
    env = {"SLURMTASKS_LOCAL_DIR": str(outside / "local"), "HOME": str(outside), "PYTHONPATH": ""}
    with session.chdir(outside):
        session.run(own, "-c", FIRST_PROGRAM, env=env, external=True)
        for words in (("--version",), ("explain", "JobTimedOut"), ("jobs", "local", "--limit", "1")):
            session.run(str(outside / "bin" / "slurm"), *words, env=env, external=True, silent=True)


def _python(version: str) -> str | None:
    """An interpreter of a version: from PATH, or one of pyenv's. A shim of pyenv's may be there and not run."""
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    candidates = [shutil.which(f"python{version}"), *sorted(map(str, root.glob(f"versions/{version}.*/bin/python")))]
    for candidate in filter(None, candidates):
        code = "import ensurepip, sys; print('{}.{}'.format(*sys.version_info))"
        done = subprocess.run([candidate, "-c", code], capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return candidate
    return None


def _test_with(session: nox.Session, python: str, name: str, *, oldest: bool) -> None:
    environment = Path(".nox", f"dependencies-{name}").absolute()
    session.run(python, "-m", "venv", "--clear", str(environment), external=True, silent=True)
    own = str(environment / "bin" / "python")
    wanted = ["-e", ".[test]"]
    if oldest:
        lower_bounds = environment / "lower-bounds.txt"
        lower_bounds.write_text("\n".join(_lower_bounds()))
        wanted += ["-c", str(lower_bounds)]
    if not _install_by_uv(own, wanted):
        session.run(own, "-m", "pip", "install", "-q", *wanted, external=True)
    workers = str(len(os.sched_getaffinity(0)))
    session.run(own, "-m", "pytest", "-q", "-n", workers, "tests/unit", external=True)


def _lower_bounds() -> list[str]:
    """Constraints that hold each requirement to the oldest version that pyproject.toml allows."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    return [requirement.replace(">=", "==") for requirement in requirements if ">=" in requirement]


def _install_by_uv(python: str, wanted: list[str]) -> bool:
    """Install by uv, which takes seconds. False where there is none, or where it can't: pip may know another index."""
    uv = shutil.which("uv", path=os.pathsep.join([*os.environ.get("PATH", "").split(os.pathsep), ".venv/bin"]))
    command = ["pip", "install", "-q", "--python", python, *wanted]
    return bool(uv) and subprocess.run([uv, *command], check=False).returncode == 0
