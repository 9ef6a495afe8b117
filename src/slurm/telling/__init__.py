"""Telling: how users' code on the client hears of its jobs."""
