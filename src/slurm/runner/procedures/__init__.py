"""Procedures on a node: a process that takes commands, and a second one that runs the user's script."""
