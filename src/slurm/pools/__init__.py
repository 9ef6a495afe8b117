"""Pools: elements that make the calls of clients, which write them to files."""
