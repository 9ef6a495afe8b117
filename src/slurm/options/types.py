"""Types of the options of `@task` and `with_options`, for type checkers and editors; nothing imports them at run time.

`gather` changes the type of a task's result, so it is in a separate class. A test compares the names and types with
`slurm.options`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    from slurm.callbacks.base import Callback
    from slurm.environments.base import Environment
    from slurm.options.retry import Retry


class OtherOptions(TypedDict, total=False):
    """All options except `gather`, by sbatch's long names with `_` for `-`; None unsets an option of an outer layer."""

    account: str | int | float | None
    acctg_freq: str | int | float | None
    batch: str | int | float | None
    bb: str | int | float | None
    bbf: str | int | float | None
    begin: str | datetime | None
    chdir: str | int | float | None
    cluster_constraint: str | int | float | None
    clusters: str | int | Iterable[str] | None
    comment: str | int | float | None
    constraint: str | int | float | None
    container: str | int | float | None
    contiguous: bool | None
    core_spec: int | str | None
    cores_per_socket: int | str | None
    cpu_freq: str | int | float | None
    cpus_per_gpu: int | str | None
    cpus_per_task: int | str | None
    deadline: str | datetime | None
    delay_boot: int | str | timedelta | None
    distribution: str | int | float | None
    exclude: str | int | Iterable[str] | None
    exclusive: bool | str | int | None
    export: str | int | Iterable[str] | None
    extra: str | int | float | None
    extra_node_info: str | int | float | None
    get_user_env: bool | str | int | None
    gpu_bind: str | int | float | None
    gpu_freq: str | int | float | None
    gpus: str | int | float | None
    gpus_per_node: str | int | float | None
    gpus_per_socket: str | int | float | None
    gpus_per_task: str | int | float | None
    gres: str | int | Iterable[str] | None
    gres_flags: str | int | Iterable[str] | None
    hint: str | int | float | None
    hold: bool | None
    job_name: str | int | float | None
    licenses: str | int | Iterable[str] | None
    mail_type: str | int | Iterable[str] | None
    mail_user: str | int | float | None
    mcs_label: str | int | float | None
    mem: int | str | None
    mem_bind: str | int | float | None
    mem_per_cpu: int | str | None
    mem_per_gpu: int | str | None
    mincpus: int | str | None
    network: str | int | float | None
    nice: bool | str | int | None
    no_kill: bool | str | int | None
    no_requeue: bool | None
    nodefile: str | int | float | None
    nodelist: str | int | Iterable[str] | None
    nodes: int | str | None
    ntasks: int | str | None
    ntasks_per_core: int | str | None
    ntasks_per_gpu: int | str | None
    ntasks_per_node: int | str | None
    ntasks_per_socket: int | str | None
    open_mode: str | int | float | None
    overcommit: bool | None
    oversubscribe: bool | None
    partition: str | int | Iterable[str] | None
    power: str | int | float | None
    prefer: str | int | float | None
    priority: str | int | float | None
    profile: str | int | Iterable[str] | None
    propagate: bool | str | int | None
    qos: str | int | float | None
    reboot: bool | None
    requeue: bool | None
    reservation: str | int | Iterable[str] | None
    signal: str | None
    sockets_per_node: int | str | None
    spread_job: bool | None
    switches: str | int | float | None
    thread_spec: int | str | None
    threads_per_core: int | str | None
    time: int | str | timedelta | None
    time_min: int | str | timedelta | None
    tmp: int | str | None
    tres_bind: str | int | float | None
    tres_per_task: str | int | Iterable[str] | None
    uid: str | int | float | None
    use_min_nodes: bool | None
    wait_all_nodes: int | str | None
    wckey: str | int | float | None
    chunk_size: int | str | None
    env: Mapping[str, str | None] | None
    keep: str | None
    labels: Mapping[str, str | int | float | None] | None
    launch: str | None
    max_concurrent: int | str | None
    max_restarts: int | str | None
    metrics: bool | None
    mpi: str | None
    retry: Retry | int | Mapping[str, Any] | None
    reuse: bool | Literal["refresh"] | None
    separate_stderr: bool | None
    setup: str | Iterable[str] | None
    signal_lead: int | str | timedelta | None
    srun: Mapping[str, str | int | float | bool | None] | str | None
    stop_signal: str | None
    teardown: str | Iterable[str] | None
    workers: int | str | None
    sbatch: Mapping[str, str | int | float | bool | None] | None


class OtherKeywords(OtherOptions, total=False):
    """The keyword arguments of a task except `gather`: options, environment and callbacks."""

    environment: Environment | Sequence[Environment] | None
    callbacks: Iterable[Callback]


class TaskOptions(OtherOptions, total=False):
    """All options."""

    gather: bool | None


class TaskKeywords(TaskOptions, OtherKeywords, total=False):
    """All keyword arguments of a task."""
