"""Notifications: how events and progress reach callbacks on the client."""
