"""A function that does nothing, in an installed module."""


def nothing(_: object = None) -> None:
    """Do nothing."""
