"""Pools: clients write calls to files, and the elements of a pool make these calls."""
