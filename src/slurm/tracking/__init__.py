"""Tracking: what becomes of submissions: outcomes, states, errors, resubmission, recovery."""
