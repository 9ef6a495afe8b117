"""A program that prints the digests of calls of commands, and of calls with values that were put.

Arguments: a seed, and the root of a cluster. It makes the files that the commands need in the working directory.
"""

import json
import random
import sys
from pathlib import Path

import numpy as np

from slurm import Cluster, command, task
from slurm.jobs.reuse import _digests
from slurm.jobs.submit import Wanted
from slurm.storage.uploads import Uploads

FILES = {"data.txt": "one", "conf/a.yaml": "a: 1", "conf/deep/b.yaml": "b: 2", "run.sh": "exit 0"}


def shuffled(values):
    values = list(values)
    random.Random(int(sys.argv[1])).shuffle(values)
    return values


for name in shuffled(FILES):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(FILES[name])
Path("run.sh").chmod(0o700)


@command(products=["out"])
def made(x, scale=1):
    return ["sh", "-c", "echo > out", str(x * scale)]


def check(directory):
    return (directory / "out").exists()


@task
def take(value):
    return value


class Model:
    def __init__(self, names):
        self.names = names

    def size(self):
        return len(self.names)


COMMANDS = {
    "template": (command("echo {x} {y}"), {"x": 1, "y": "a b"}),
    "named file": (command("cat conf/a.yaml {x}"), {"x": 1}),
    "files": (command("cat {x}", files=["data.txt", "conf/", "run.sh"]), {"x": 1}),
    "environment": (command("env {x}", env={"A": "{x}", "B": None}), {"x": 1}),
    "stdin": (command("cat {x}", stdin="{x}\n"), {"x": 2}),
    "shell": (command("cat data.txt | wc {x} > n", shell=True, products=["n"]), {"x": "-l"}),  # noqa: S604 - a fixed text
    "check of words": (command("touch out {x}", products=["out"], check="test -e {product}"), {"x": 1}),
    "check of a function": (command("touch out {x}", products=["out"], check=check), {"x": 1}),
    "function": (made, {"x": 3}),
    "overrides": (command("run {overrides}"), {"lr": 0.1, "depth": 2}),
}


def put(cluster):
    numbers = {name: len(name) for name in ("alpha", "beta", "gamma")}
    return {
        "list": cluster.put([1, 2.0, "three", None]),
        "dict": cluster.put(numbers),
        "set": cluster.put({"alpha", "beta", "gamma", ("delta", frozenset({"epsilon", "zeta"}))}),
        "array": cluster.put(np.arange(6.0).reshape(2, 3)),
        "array and set": cluster.put({"data": np.arange(6), "names": {"alpha", "beta", "gamma"}}),
        "function": cluster.put(check),
        "object": cluster.put(Model({"alpha", "beta"})),
        "file": cluster.put(Path("data.txt")),
        "absolute file": cluster.put(Path("conf/a.yaml").absolute()),
        "directory": cluster.put(Path("conf")),
    }


def digests(cluster, of, calls):
    groups = [(of, range(len(calls)))]
    uploads, (settings, environment) = Uploads(), cluster._prepare(of)
    return _digests(cluster.place, Wanted(of, calls, True, settings, environment), calls, groups, uploads).of_calls


if __name__ == "__main__":
    with Cluster("local", root=sys.argv[2]) as cluster:
        found = {name: digests(cluster, of, [((), values)])[0].hex() for name, (of, values) in COMMANDS.items()}
        values = put(cluster)
        found |= {f"put {name}": digests(cluster, take, [((value,), {})])[0].hex() for name, value in values.items()}
        options = {
            "plain": take,
            "labels": take.with_options(labels={"sweep": "depths"}),
            "metrics": take.with_options(metrics=True),
            "resources": take.with_options(time="5", mem="1G"),
        }
        found |= {f"option {name}": digests(cluster, of, [((1,), {})])[0].hex() for name, of in options.items()}
    print(json.dumps(found))
