"""Schedulers: commands that queue scripts, report their states and cancel them, and parsers of their output."""
