"""Parameter sweeps: the points of a space, computed at several sources at once, resumed and completed anywhere."""
