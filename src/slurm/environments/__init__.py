"""Environments: provide the Python and the packages that a task needs on the cluster."""
