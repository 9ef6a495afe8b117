"""Notifications: report changes of jobs to the callbacks on the client."""
