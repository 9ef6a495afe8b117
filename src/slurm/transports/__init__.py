"""Transports: run commands on the cluster's machine and copy files to and from it."""
