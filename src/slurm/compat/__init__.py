"""Façades: the API of other libraries, implemented with the public API of this library."""
