"""Callbacks: hooks for the events of jobs, called on the client or on the node.

Names are imported at first use, so that a node loads only the callbacks that it calls.
"""

from __future__ import annotations

import importlib

from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from slurm.callbacks.base import Callback
    from slurm.callbacks.events import (
        CompletedEvent,
        CompleteEvent,
        PackagingBeginEvent,
        PackagingEndEvent,
        ProgressEvent,
        RunBeginEvent,
        RunEndEvent,
        StateEvent,
        SubmitEvent,
        WorkflowBeginEvent,
        WorkflowEndEvent,
    )
    from slurm.callbacks.jsonlines import JSONLinesCallback
    from slurm.callbacks.logs import LoggingCallback
    from slurm.callbacks.progress import ProgressCallback
    from slurm.callbacks.webhook import WebhookCallback

_HOMES = {
    "base": ("Callback",),
    "jsonlines": ("JSONLinesCallback",),
    "logs": ("LoggingCallback",),
    "progress": ("ProgressCallback",),
    "webhook": ("WebhookCallback",),
    "events": (
        "CompleteEvent",
        "CompletedEvent",
        "PackagingBeginEvent",
        "PackagingEndEvent",
        "ProgressEvent",
        "RunBeginEvent",
        "RunEndEvent",
        "StateEvent",
        "SubmitEvent",
        "WorkflowBeginEvent",
        "WorkflowEndEvent",
    ),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Callback",
    "CompleteEvent",
    "CompletedEvent",
    "JSONLinesCallback",
    "LoggingCallback",
    "PackagingBeginEvent",
    "PackagingEndEvent",
    "ProgressCallback",
    "ProgressEvent",
    "RunBeginEvent",
    "RunEndEvent",
    "StateEvent",
    "SubmitEvent",
    "WebhookCallback",
    "WorkflowBeginEvent",
    "WorkflowEndEvent",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'slurm.callbacks' has no attribute {name!r}")
    return getattr(importlib.import_module(f"slurm.callbacks.{_HOME[name]}"), name)
