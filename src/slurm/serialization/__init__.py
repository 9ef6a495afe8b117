"""Serialization: pickle calls and unpickle results, both on the client."""
