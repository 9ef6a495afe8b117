"""The definition of done: `nox` with no arguments."""

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True


@nox.session
def lint(session: nox.Session) -> None:
    """Style: ruff, all rules."""
    session.install("ruff>=0.15")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types: mypy, strict, on src and tests."""
    session.install("-e", ".[test,examples]")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """Everything, in several processes; tests of the real Slurm are skipped, with a word, where there is none."""
    session.install("-e", ".[test,examples]")
    session.run("pytest", *session.posargs)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """The table of DESIGN's budgets, measured in one run."""
    session.install("-e", ".[test]", "submitit>=1.5")
    session.run("python", "benchmarks/run.py", *session.posargs)
