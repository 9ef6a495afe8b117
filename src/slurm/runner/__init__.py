"""The node side: load a call, resolve its placeholders, run it, save its result or failure.

The runner runs from one zip file under a Python without installed packages, so it imports only the standard library,
this package's lowest layers and cloudpickle. Each element of a large array starts it, so it imports as little as
possible.
"""
