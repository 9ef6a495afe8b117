"""The pytest plug-in: fixtures that give a test a cluster in a temporary root, and play failures.

pytest finds this module by its entry point and loads it in each run, so its top level imports no other module of the
package.
"""

from __future__ import annotations

import pytest

TYPE_CHECKING = False  # as in the package itself

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from slurm.clusters.cluster import Cluster
    from slurm.testing.inline.cluster import InlineCluster


@pytest.fixture
def slurm_inline() -> Iterator[InlineCluster]:
    """Give an active cluster that runs in this process, with its own root. `slurm_inline.queue` plays failures."""
    from slurm.testing.inline.cluster import InlineCluster  # noqa: PLC0415 - imported at first use

    with InlineCluster() as cluster:
        yield cluster


@pytest.fixture
def slurm_play(slurm_inline: InlineCluster) -> Iterator[Callable[..., None]]:
    """Give the function that plays failures on the inline cluster: `slurm_play("TIMEOUT", task="train", element=1)`.

    The states are TIMEOUT, OUT_OF_MEMORY, NODE_FAIL, PREEMPTED, CANCELLED, BOOT_FAIL and DEADLINE; REQUEUE runs the
    element again. The test fails if a failure that it requested was not applied to any attempt.
    """
    yield slurm_inline.queue.play
    if unmet := slurm_inline.queue.unmet():
        pytest.fail(
            f"no attempt of an element met what the test has played: {'; '.join(map(str, unmet))}", pytrace=False
        )


@pytest.fixture
def slurm_local(tmp_path: Path, _slurm_local_scheduler: None) -> Iterator[Cluster]:
    """Give an active cluster whose jobs are processes of this machine, with its root in the test's `tmp_path`.

    The jobs are cancelled at the end of the test.
    """
    from slurm.clusters.cluster import Cluster  # noqa: PLC0415 - as above

    with Cluster("local", root=tmp_path / "slurm-jobs", cancel_on_exit=True) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def _slurm_local_scheduler() -> Iterator[None]:
    """Run the jobs of the session on a separate local scheduler, unless SLURMTASKS_LOCAL_DIR names one."""
    import contextlib  # noqa: PLC0415 - as above
    import os  # noqa: PLC0415
    import shutil  # noqa: PLC0415
    import tempfile  # noqa: PLC0415

    from slurm.schedulers.local_queue import client  # noqa: PLC0415

    if "SLURMTASKS_LOCAL_DIR" in os.environ:
        yield
        return
    directory = tempfile.mkdtemp(prefix="slurm-")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURMTASKS_LOCAL_DIR", directory)
        yield
        with contextlib.suppress(OSError):
            client.stop()
    shutil.rmtree(directory, ignore_errors=True)
