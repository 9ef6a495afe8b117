"""Lifecycle: what the scheduler is asked for a submission, what comes of it, and how it goes on."""
