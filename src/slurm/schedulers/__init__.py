"""Schedulers: how a script is queued, asked after, and cancelled."""
