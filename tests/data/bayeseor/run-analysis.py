#!/usr/bin/env python3
"""A stub of BayesEoR's `run-analysis.py`: its arguments, its tree of files and its refusals, and no analysis.

BayesEoR itself needs a GPU with MAGMA and is on no index. What is copied here is what a caller sees:

- `--config` may be given several times; later arguments replace earlier ones, as with jsonargparse;
- `--cpu` builds matrices in `<array_dir_prefix>/<name by parameters>/`, unless they are there;
- `--gpu --run` writes to `<output_dir>/<file_root>/`; without `file_root` it chooses a name that ends with -v1, -v2 …;
- the number of channels is that of the data, whatever `nf` says, and `args.json` says what was used;
- MultiNest takes a path of at most 100 characters, and continues from `data-resume.dat`.

`data_path` is a JSON file here, such as {"nf": 38}. With "stop_after" in it, the sampler is killed after so many
iterations of the first attempt.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
from pathlib import Path
from typing import Any

import yaml

ITERATIONS = 10


class Config(argparse.Action):
    def __call__(
        self, parser: object, namespace: argparse.Namespace, values: Any, option_string: object = None
    ) -> None:
        vars(namespace).update(yaml.safe_load(Path(values).read_text()))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", action=Config, required=True)
    parser.add_argument("--gpu", dest="use_gpu", action="store_true")
    parser.add_argument("--cpu", dest="use_gpu", action="store_false")
    parser.add_argument("--run", action="store_true")
    parser.add_argument("--array-dir-prefix", default="matrices")
    parser.add_argument("--output-dir", default="chains")
    parser.add_argument("--file-root")
    return parser.parse_args()


def sample(args: argparse.Namespace, out: Path, stop_after: int | None) -> None:
    assert len(out.as_posix()) <= 100, "the path to the sampler output directory must be <= 100 characters in length"
    out.mkdir(parents=True, exist_ok=True)
    (out / "version.txt").write_text("1.2.0 (stub)\n")
    (out / "args.json").write_text(json.dumps(vars(args)))
    (out / "k-vals.txt").write_text("0.1\n0.2\n0.3\n")
    state = out / "data-resume.dat"
    first = int(state.read_text()) if state.exists() else 0
    print(f"MultiNest starts at iteration {first}", flush=True)
    for iteration in range(first, ITERATIONS):
        with (out / "data-.txt").open("a") as chain:
            chain.write(f"1.0 {iteration} {args.priors[0][0]}\n")
        state.write_text(str(iteration + 1))
        if not first and iteration + 1 == stop_after:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    args = arguments()
    data = json.loads(Path(args.data_path).read_text())
    args.nf = data["nf"]
    matrices = Path(args.array_dir_prefix) / f"nu-{args.nu}-nv-{args.nv}-neta-{args.neta}-sigma-{args.sigma:.2E}"
    if not matrices.exists():
        matrices.mkdir(parents=True)
        (matrices / "T_Ninv_T.h5").write_text(str(args.nu * args.nv * args.neta))
    if not (args.use_gpu and args.run):
        return
    root, version = args.file_root, 1
    while root is None:
        name = f"MN-{args.nu}-{args.nv}-{args.neta}-{args.nq}-{args.sigma:.1E}-lp-dPS-v{version}"
        root, version = (None if (Path(args.output_dir) / name).exists() else name), version + 1
    args.file_root = root
    sample(args, Path(args.output_dir) / root, data.get("stop_after"))


if __name__ == "__main__":
    main()
