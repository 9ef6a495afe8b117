"""Run the example notebooks as Jupyter would: `python tests/notebooks.py` writes their outputs into examples/.

What is written tells nothing of the machine: its name and its paths are replaced.
"""

from __future__ import annotations

import os
import re
import socket
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

EXAMPLES = Path(__file__).parents[1] / "examples"
ROOT, HOST = "/home/ann/slurm-jobs", "laptop"
"""What stands in the written outputs for the root of jobs and for the host."""


def main() -> None:
    """Run each on this machine and write it with its outputs."""
    with tempfile.TemporaryDirectory() as place:
        os.environ["SLURMTASKS_LOCAL_DIR"] = place
        for path in sorted(EXAMPLES.glob("*.ipynb")):
            found = _replaced(executed(path, "local", f"{place}/jobs"), f"{place}/jobs")
            for cell in found["cells"]:
                cell["metadata"] = {}
            found["metadata"] = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
            nbformat.write(nbformat.from_dict(found), path)
            print(path.name)


def executed(path: Path, url: str, root: str | Path) -> Any:
    """A notebook after all of its cells have run in a kernel, with jobs on that cluster; one that fails raises."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as place:
        slurmfile = Path(place, "Slurmfile")
        slurmfile.write_text(f'default: there\nclusters: {{there: {{url: "{url}", root: "{root}"}}}}\n')
        own = dict.fromkeys(("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "MPLCONFIGDIR"), place)
        client = NotebookClient(
            notebook,
            config=Config(KernelManager={"transport": "ipc", "ip": f"{place}/kernel"}),
            timeout=100,
            record_timing=False,
            resources={"metadata": {"path": str(path.parent)}},
        )
        client.execute(env={**os.environ, **own, "SLURMFILE": str(slurmfile)})
    return notebook


def _replaced(value: Any, root: str) -> Any:
    """A notebook with what is told of the machine replaced; pictures are left as they are."""
    if isinstance(value, str):
        text = re.sub(r"ipykernel_\d+/\d+", "ipykernel_1/1", value.replace(root, ROOT))
        return re.sub(rf"\b{re.escape(socket.gethostname())}\b", HOST, text)
    if isinstance(value, dict):
        return {key: found if key.startswith("image/") else _replaced(found, root) for key, found in value.items()}
    return [_replaced(found, root) for found in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
