"""Environments: how the right Python gets there."""
