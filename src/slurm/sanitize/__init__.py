"""Sanitize: make text, numbers and secrets from outside safe to show, write or use."""
