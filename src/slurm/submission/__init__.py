"""Submission: the script, requests, dependencies and state of a submission. Queues nothing."""
