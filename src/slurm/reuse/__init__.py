"""Reuse: find an earlier job that has computed a call, by a digest of the function, its arguments and environment."""
