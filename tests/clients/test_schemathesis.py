"""Check the server with a client that others wrote: schemathesis sends valid and invalid requests from /openapi.json.

It finds answers with status 500 or of types that the description does not name, requests that should be refused and are
not, tokens that are not needed, and methods that should not exist.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from served import Client, client_of, serve
from slurm import Cluster, task
from waiting import until

WAIT = 120.0
SEMANTICS = "positive_data_acceptance"
"""Left out: a schema cannot say that a text must be a date, or a list must be arguments of a function: 422."""
METHODS = "unsupported_method"
"""Left out where a job exists: keys contain `/`, so GET /jobs/KEY/cancel names another job, and gets a 404."""
SCRIPT = """
def init(x=0): pass
def calibrate(*args, **kwargs): return 1
def main(): pass
"""


@task
def double(x: int) -> int:
    print("doubling", x)
    return 2 * x


def check(client: Client, directory: Path, *words: str, config: str = "") -> str:
    """Run schemathesis on all routes whose answer ends; return its output."""
    directory.mkdir()
    (directory / "schemathesis.toml").write_text(config)
    argv = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{client.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {client.token}", "--exclude-path-regex", "/events$"),
        *("--seed", "20", "--suppress-health-check", "all", "--no-color", "--request-timeout", str(WAIT)),
        *words,
    ]
    done = subprocess.run(argv, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_all_routes_answer_as_they_are_described(local: Cluster, tmp_path: Path) -> None:
    jobs = double.map(range(3))
    assert jobs.results(WAIT) == [0, 2, 4]
    with serve("--on", str(local.url), "--allow-text") as (_, lines):
        client = client_of(lines)
        until(lambda: client.ask("GET", "/procedures").status == 200)  # 503 until it has read the root
        made = client.post("/procedures", script={"text": SCRIPT}, exclusive="dish", options={"time": "10"})
        path = f"/procedures/{made['number']}"
        until(lambda: client.get(path)["state"] == "READY", WAIT)
        routes = sum(map(len, client.get("/openapi.json")["paths"].values())) - 2
        phases = ("--phases", "coverage,fuzzing", "--exclude-checks", SEMANTICS)
        said = check(client, tmp_path / "any", "--max-examples", "10", *phases)
        assert f"Tested: {routes}" in said
        # Once more, with jobs that exist, and without requests that start a job each time.
        config = f'[parameters]\n"path.number" = {made["number"]}\n"path.key" = "{jobs.key}"\n"path.name" = "dish"\n'
        some = ("--exclude-path-regex", "/events$|/retry$|^/procedures$|^/sweeps|^/environments")
        phases = ("--phases", "fuzzing", "--exclude-checks", f"{SEMANTICS},{METHODS}")
        check(client, tmp_path / "known", "--max-examples", "20", *some, *phases, config=config)
        assert client.get(f"/jobs/{jobs.key}")["states"] == {"COMPLETED": 3}
        if client.get(path)["state"] in {"READY", "RUNNING"}:
            client.put(path, state="STOPPED")
        until(lambda: client.get(path)["state"] in {"COMPLETE", "STOPPED", "FAILED"}, WAIT)
