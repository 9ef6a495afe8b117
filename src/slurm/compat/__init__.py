"""Façades: the names of other libraries, on the public API of this one."""
