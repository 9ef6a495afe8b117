"""Adaptive search: a sampler chooses the next points of a sweep by how the earlier ones have ended.

Nothing is stored but the settings in `sweep.json`, and the points and outcomes that every sweep has. A process that
goes on with a search tells a new sampler of these.
"""
