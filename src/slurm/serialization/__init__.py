"""Serialization: pickling calls on the client, and unpickling results there."""
