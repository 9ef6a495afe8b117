"""Words of other tools for this library's options. Imported only for the error about an unknown option.

The words are those of submitit, PBS, Grid Engine, dask-jobqueue, modal, snakemake, parsl, joblib, ray, nextflow and
`concurrent.futures`, and sbatch's short options.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ADVICE = {
    "time='2:00:00' is the time limit": "walltime time_limit timelimit max_time max_runtime duration h_rt wall",
    "time=90 is the time limit in minutes": "t timeout_min runtime minutes time_minutes",
    "time=timedelta(seconds=90) is the time limit": "timeout timeout_sec timeout_seconds seconds",
    "time=timedelta(hours=2) is the time limit": "hours timeout_hour",
    "mem='4G' is the memory of a node, mem_per_cpu='1G' that of a CPU": """
        memory ram mem_gb mem_mb mem_mib memory_gb memory_mb vmem pmem h_vmem s_vmem maxvmem job_mem mem_per_node
        mem_per_job mem_per_task mem_per_worker max_memory memory_request""",
    "mem_per_cpu='1G' is the memory of a CPU": "mem_mb_per_cpu mem_gb_per_cpu memory_per_cpu",
    "cpus_per_task=4 is the number of CPUs of a call": """
        c cpu cpus ncpus n_cpus num_cpus cpu_count core cores ncores n_cores num_cores threads nthreads n_threads
        num_threads slots job_cpu select cores_per_task threads_per_task cpus_per_worker cores_per_worker
        cpu_request""",
    "cpus_per_task=4 is the number of CPUs of a call, ntasks_per_node=2 the number of processes of a node": """
        cpus_per_node cores_per_node ppn procs_per_node cpus_per_rank""",
    "gpus=1 is the number of GPUs, gpus='a100:1' also says their type": """
        G gpu ngpus n_gpus num_gpus gpu_count gpu_type gpus_per_job accelerator""",
    "gpus_per_node=4 is the number of GPUs of a node": "num_gpus_per_node ngpus_per_node",
    "partition='long' is the partition, which other tools call a queue": "p queue queue_name partitions",
    "qos='high' is the quality of service": "q",
    "ntasks=8 is the number of processes of a call": "n tasks n_tasks num_tasks nprocs n_procs num_procs ranks",
    "ntasks_per_node=4 is the number of processes of a node": """
        mpiprocs mpi_procs tasks_per_node ranks_per_node processes_per_node""",
    "nodes=2 is the number of nodes": "N node num_nodes n_nodes nnodes nodect node_count nodes_per_block",
    "nodelist='n1' has the names of nodes": "w",
    "exclude='n1' has the names of nodes that are not used": "x",
    "constraint='skylake' is a feature of nodes": "C feature features node_type",
    "account='physics' is the account that pays": "A project allocation charge_account",
    "job_name='train' is the name of the job": "J name jobname task_name",
    "max_concurrent=10 is how many elements of a map run at once": """
        array_parallelism max_jobs max_parallel max_running max_forks concurrency concurrency_limit max_containers
        max_blocks parallelism""",
    "max_concurrent=10 is how many elements of a map run at once, workers=4 how many calls run in one element": """
        max_workers n_workers num_workers n_jobs processes""",
    "workers=4 runs calls of a map in forked processes of one element": "mp_context",
    "chunk_size=100 is how many calls of a map run in one element": """
        chunksize batch_size max_tasks_per_child maxtasksperchild""",
    "retry=3 is how often a failed call runs again": """
        retries max_retries num_retries max_attempts error_strategy restart_times""",
    "max_restarts=10 is how many attempts may follow one that stopped at a checkpoint": "max_num_timeout",
    "signal_lead=120 is how many seconds before the time limit a task is warned": "signal_delay_s",
    "logs are kept in the job's directory: job.logs() reads them": """
        o stdout log logs log_dir log_directory log_folder""",
    "separate_stderr=True keeps standard error in a log of its own, which job.logs(stderr=True) reads": """
        e stderr stderr_to_stdout""",
    "environment=… says what a task runs in, such as Conda('name'), Modules('python/3.12'), Container('image')": """
        python venv conda conda_env module modules image docker runtime_env envmodules singularity apptainer""",
    "environment=Container('image', mounts=['/data']) shows directories to a task": "mounts volumes binds",
    "setup=['module load gcc'] has lines of bash that run before a task": """
        prologue job_script_prologue worker_init before_script pre_run""",
    "teardown=['rm -r /tmp/cache'] has lines of bash that run after a task, also if it fails": """
        epilogue job_script_epilogue after_script post_run cleanup""",
    "env={'OMP_NUM_THREADS': '4'} sets variables of a task's process": """
        env_vars envs environ environment_variables variables env_extra""",
    "sbatch={'--some-option': 1} passes other options to sbatch": """
        extra_args additional_parameters job_extra job_extra_directives scheduler_options slurm_extra cluster_options
        sbatch_args sbatch_options resources""",
    "chdir='/scratch/ann' is the working directory": "D cwd workdir working_dir working_directory work_dir directory",
    "pass a job as an argument, or use .after(job, on=…)": """
        d depends_on dependencies after afterok hold_jid wait_for""",
    "call the task's .map(…), which makes the array": "a",
    "task.plan(…) shows what a call would submit": "dry_run dryrun",
    "a call has one result, which may be a tuple": "num_returns",
    "licenses='matlab:2' has the licences": "L",
    "begin='now+1hour' is the earliest start": "b",
    "clusters='a,b' has the names of clusters": "M",
    "hold=True keeps the job from starting": "H",
    "distribution='cyclic' is how the processes are spread": "m",
    "core_spec=1 is the number of cores for the system": "S",
    "oversubscribe=True shares nodes with other jobs": "s",
    "overcommit=True runs several processes on a CPU": "O",
    "mail_user='ann@example.org' is the address, mail_type='END,FAIL' says when mail is sent": "email mail notify",
    "tmp='10G' is the disk space of a node": "disk disk_gb disk_mb scratch local_directory ephemeral_disk tmpdir",
    "cluster.executor(initializer=…, initargs=…) calls a function in each process before its first call": """
        initializer initargs""",
    "labels={'sweep': 'rates'} marks submissions": "tags",
    "reuse=True finds the result of an equal call": "cache",
    "launch='once' runs a call in one process, launch='ranks' in each task of the allocation": "use_srun",
    "srun={'cpu_bind': 'cores'} has options of srun, which starts the ranks": "srun_args srun_options cpu_bind",
    "launch='mpi' starts a command as one MPI world": "use_mpi",
}  # fmt: skip
"""What to write, and the words that other tools use for it."""

WORDS: Mapping[str, str] = {word: advice for advice, words in _ADVICE.items() for word in words.split()}
"""What to write instead of each word."""

_BY_LETTERS = {word.replace("_", ""): word for word in WORDS}


def meaning(name: str) -> str | None:
    """Return what to write for a word of another tool; None for other words."""
    plain = name.strip("-").replace("-", "_")
    if len(plain) == 1:
        return WORDS.get(plain)  # a short option of sbatch, whose case matters
    bare, whole = (text.lower().replace("_", "") for text in (plain.lower().removeprefix("slurm_"), plain))
    word = _BY_LETTERS.get(bare) or _BY_LETTERS.get(whole)
    return WORDS[word] if word else None


def advise(name: str, ours: Iterable[str], taken: Mapping[str, str]) -> str:
    """Return the message for an unknown option: what to write for a word of another tool, or for a misspelt name."""
    known = tuple(ours)
    plain = name.strip("-").replace("-", "_")
    bare = plain.lower().removeprefix("slurm_")
    if bare != plain and bare in known:
        return f"there is no option {name!r}: {taken.get(bare) or f'write {bare}=…'}"
    if meant := meaning(name):
        return f"there is no option {name!r}: {meant}"
    guesses = [each for each in (*known, *WORDS) if _may_be_meant(bare, each)]
    found = get_close_matches(bare, guesses, n=1, cutoff=0.74)
    if not found:
        return f'sbatch has no option {name}: to pass it unchanged, write sbatch={{"--{name}": …}}'
    if found[0] in known:
        return f"sbatch has no option {name}: did you mean {found[0]}?"
    return f"there is no option {name!r}: {WORDS[found[0]]}"


def _may_be_meant(name: str, guess: str) -> bool:
    """Whether a misspelt name can mean `guess`. Nobody means `gpus` by `cpus`, although only one letter differs."""
    asked, offered = ({kind for kind in ("cpu", "gpu") if kind in text} for text in (name, guess))
    return len(guess) > 2 and (len(asked) != 1 or asked <= offered)
