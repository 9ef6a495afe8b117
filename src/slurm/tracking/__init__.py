"""Tracking: outcomes, states and errors of submissions; resubmission and recovery."""
