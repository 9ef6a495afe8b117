"""The node side: load a call, resolve its placeholders, run it, save what came of it.

Everything here imports the standard library, this package's lowest layer and cloudpickle only, because it runs from one
zip file under a Python that has nothing installed; and as little of these as it can, because a thousand elements each
start it once.
"""
