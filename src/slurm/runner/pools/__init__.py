"""The elements of a pool: each makes the calls that clients write, in its own worker processes."""
