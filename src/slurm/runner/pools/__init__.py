"""The elements of a pool: each serves the calls that clients write, with worker processes of its own."""
