"""Submission: what a submission is, as values and text: its script, its requests, its dependencies, its state."""
