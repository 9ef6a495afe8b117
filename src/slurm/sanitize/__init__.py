"""Sanitize: text, numbers and secrets that come from outside, made safe to show, to write or to use."""
