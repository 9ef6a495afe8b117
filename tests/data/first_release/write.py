"""What wrote this root and these handles, with the release before modules moved to packages."""

# mypy: ignore-errors

import os
import pickle

from slurm import Cluster, JobContext, Retry, task, wait, workflow


@task(time="00:05:00")
def square(x):
    return x * x


@task
def fails(x):
    raise ValueError(f"no root of {x}")


@task
def add(x, y):
    return x + y


@task(retry=Retry(2, on=RuntimeError))
def stubborn(directory):
    import os

    path = os.path.join(directory, "tried")
    if not os.path.exists(path):
        open(path, "w").close()
        raise RuntimeError("once")
    return "then it works"


@task
def exits():
    os._exit(3)


@task
def steps(ctx: JobContext):
    for i in range(3):
        ctx.progress(i + 1, 3, loss=1.0 / (i + 1))
    print("a line of the log")
    return ctx.index


@workflow
def sums(n):
    parts = square.map(range(n))
    return sum(parts.results())


if __name__ == "__main__":
    handles = {}
    with Cluster("local", root="~/root") as cluster:
        handles["one"] = square(3)
        handles["map"] = square.map(range(4))
        handles["failed"] = fails(-1)
        handles["sum"] = add(handles["one"], 1)
        handles["retried"] = stubborn(os.path.expanduser("~"))
        handles["exited"] = exits()
        handles["workflow"] = sums(3)
        handles["steps"] = steps()
        handles["chunked"] = square.with_options(chunk_size=3).map(range(7))
        for name, job in handles.items():
            wait([job])
            print(name, job)
    with open(os.path.expanduser("~/handles.pkl"), "wb") as f:
        pickle.dump(handles, f)
