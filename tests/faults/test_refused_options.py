"""A rejection names the option that caused it, and what the cluster has instead."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slurm import Cluster, task
from slurm.errors import SubmissionRefused
from testbed import SlurmTestbed

pytestmark = pytest.mark.slurm


@task
def one() -> int:
    return 1


def test_the_option_and_what_there_is_are_named(
    new_testbed: Callable[..., SlurmTestbed], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    testbed = new_testbed(
        accounting=True,
        settings={
            "GresTypes": "gpu",
            "Licenses": "fluent:2",
            "AccountingStorageEnforce": "associations,limits,qos",
            "EnforcePartLimits": "ALL",
        },
    )
    for name, value in testbed.env.items():
        monkeypatch.setenv(name, value)
    if os.geteuid() != 0:  # root is in the account of this name from the beginning
        me = pwd.getpwuid(os.geteuid()).pw_name
        testbed.run("sacctmgr", "--immediate", "add", "user", me, "account=root")
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"gpus": 1}, "The option gpus='1' caused this.", "Largest node: 4 CPUs"),
        ({"gres": "foo:1", "mem": "1M"}, "The option gres='foo:1' caused this.", "Largest node: 4 CPUs"),
        ({"licenses": "matlab"}, "The option licenses='matlab' caused this.", "Licenses: fluent (2 in all, 2 free)"),
        ({"constraint": "fast"}, "The option constraint='fast' caused this.", "Features: none"),
        ({"qos": "high"}, "The option qos='high' caused this.", "QOS: normal"),
        ({"account": "zoo"}, "The option account='zoo' caused this.", "Accounts: root"),
        ({"nodelist": "n9"}, "The option nodelist='n9' caused this.", "Nodes: n[1-2]"),
        ({"reservation": "r"}, "The option reservation='r' caused this.", "Reservations: none"),
        ({"partition": "long"}, "The option partition='long' caused this.", "Partitions: debug"),
        ({"cpus_per_task": 99}, "The option cpus_per_task='99' caused this.", "Largest node: 4 CPUs"),
        ({"sbatch": {"--gres": "foo"}}, "The option sbatch={'--gres': 'foo'} caused this.", "Largest node: 4 CPUs"),
        ({"mem": "9T", "tmp": "1M"}, "The option mem='9T' caused this.", "Largest node: 4 CPUs"),
    ]
    cluster = Cluster("slurm", root=root)
    for options, cause, instead in cases:
        with pytest.raises(SubmissionRefused) as refused:
            one.on(cluster).with_options(**options)()
        assert cause in str(refused.value), str(refused.value)
        assert instead in refused.value.offers, refused.value.offers
        assert len(refused.value.options) == 1
