"""The local scheduler's other side: one supervisor process per user and machine, and the commands that talk to it.

It runs from the runner's zip, with the standard library alone, wherever the transport's commands run.
"""

GRACE_SECONDS = 2.0
"""Seconds between SIGTERM and SIGKILL, like Slurm's KillWait."""
