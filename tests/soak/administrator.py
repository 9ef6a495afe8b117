"""What an administrator does after a slurmd was killed while it started a job."""

from __future__ import annotations

import subprocess
import time

from testbed import SlurmTestbed

HELD = "launch failed requeued held"


def wait_for(client: subprocess.Popen[bytes], testbed: SlurmTestbed, timeout: float) -> int:
    """Wait for a client, and meanwhile mend what Slurm leaves to an administrator; its exit status.

    A slurmd that is killed between the start of a job and its report is sent the job once more. It refuses it as a
    "Duplicate jobid": Slurm drains the node and holds the job. Both wait for a person.
    """
    end = time.monotonic() + timeout
    while client.poll() is None:
        assert time.monotonic() < end, f"the client has not ended after {timeout} s"
        for line in testbed.run("squeue", "-h", "-r", "-t", "PD", "-o", "%i %r").stdout.splitlines():
            id_, _, reason = line.partition(" ")
            if reason == HELD:
                testbed.run("scontrol", "release", id_, check=False)
        for node in testbed.run("sinfo", "-h", "-t", "drain", "-N", "-o", "%N").stdout.split():
            testbed.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)
        time.sleep(2)
    return client.returncode
