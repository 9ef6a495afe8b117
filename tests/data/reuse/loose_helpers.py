"""A module beside a script."""

FACTOR = 2


def twice(x):
    return FACTOR * x


def unused(x):
    raise RuntimeError(x)
