"""Adaptive search: a sampler chooses the next points of a sweep from the results of the earlier ones.

The state of a sampler is not stored. Only the settings in `sweep.json` are added to the points and outcomes that every
sweep has. A process that continues a search gives these points and outcomes to a new sampler.
"""
