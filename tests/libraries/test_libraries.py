"""Libraries that take an executor, or are run by joblib, on a pool: `nox -s libraries` installs them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from slurm import Cluster, task

np = pytest.importorskip("numpy")
joblib = pytest.importorskip("joblib")
pytest.importorskip("sklearn")  # here, because it sets environment variables when it is imported

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slurm.clusters.pool import Pool
    from slurm.jobs.executor import ClusterExecutor


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    root: Path = tmp_path_factory.mktemp("libraries")
    with Cluster("local", root=root) as cluster, cluster.pool(workers=2, time="20:00") as pool:
        yield pool


@pytest.fixture
def executor(pool: Pool) -> Iterator[ClusterExecutor]:
    with pool.executor() as executor:
        yield executor


def rosenbrock(x: Any) -> float:
    return float(sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2))


def square_and_pid(x: int) -> tuple[int, int]:
    return x * x, os.getpid()


def fail_at(x: int, at: int) -> int:
    if x == at:
        raise ValueError(f"no {x}")
    return x


def log_probability(x: Any) -> float:
    return -0.5 * float(np.sum(x**2))


def peak(x: float) -> float:
    return x + 0.01 / (0.01 + x * x)


def test_joblib(pool: Pool) -> None:
    with pool.joblib():
        found = joblib.Parallel()(joblib.delayed(square_and_pid)(x) for x in range(1000))
        assert [square for square, _ in found] == [x * x for x in range(1000)]
        assert os.getpid() not in {pid for _, pid in found}
        with pytest.raises(ValueError, match="no 3"):
            joblib.Parallel()(joblib.delayed(fail_at)(x, 3) for x in range(50))
        each = joblib.Parallel(return_as="generator")(joblib.delayed(abs)(-x) for x in range(20))
        assert list(each) == list(range(20))
    with pool.joblib(n_jobs=1):
        assert joblib.Parallel()([joblib.delayed(abs)(-1)]) == [1]


def test_scikit_learn(pool: Pool) -> None:
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import SVC

    points, kinds = load_iris(return_X_y=True)
    with pool.joblib():
        search = GridSearchCV(SVC(), {"C": [0.1, 1, 10]}, cv=3).fit(points, kinds)
        forest = RandomForestClassifier(20, random_state=0).fit(points, kinds)
    assert search.best_score_ > 0.9
    assert forest.score(points, kinds) > 0.9


def test_scipy(executor: ClusterExecutor) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    bounds = [(-2, 2)] * 2
    found = optimize.differential_evolution(
        rosenbrock, bounds, workers=executor.map, updating="deferred", rng=1, maxiter=30, popsize=8
    )
    assert found.fun < 1e-3
    assert np.allclose(optimize.brute(rosenbrock, bounds, Ns=5, workers=executor.map), 1, atol=1e-3)


def test_dask(executor: ClusterExecutor) -> None:
    bag = pytest.importorskip("dask.bag")
    assert bag.from_sequence(range(100), npartitions=5).map(abs).sum().compute(scheduler=executor) == 4950


def test_emcee(executor: ClusterExecutor) -> None:
    emcee = pytest.importorskip("emcee")
    sampler = emcee.EnsembleSampler(6, 2, log_probability, pool=executor)
    sampler.run_mcmc(np.random.default_rng(0).normal(size=(6, 2)), 5)
    assert sampler.get_chain().shape == (5, 6, 2)


def test_adaptive(executor: ClusterExecutor) -> None:
    adaptive = pytest.importorskip("adaptive")
    learner = adaptive.Learner1D(peak, bounds=(-1, 1))
    adaptive.BlockingRunner(learner, npoints_goal=15, executor=executor, ntasks=2)
    assert learner.npoints >= 15


def test_optuna(pool: Pool) -> None:
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    remote = task(rosenbrock).on(pool)

    def objective(trial: Any) -> float:
        return remote(np.array([trial.suggest_float(name, -2, 2) for name in "xy"])).result(300)

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=20, n_jobs=4)
    assert {trial.state.name for trial in study.trials} == {"COMPLETE"}
    assert study.best_value == min(trial.value for trial in study.trials)


def test_tqdm(executor: ClusterExecutor) -> None:
    tqdm = pytest.importorskip("tqdm")
    assert sum(tqdm.tqdm(executor.map(abs, range(20)), total=20, disable=True)) == 190
