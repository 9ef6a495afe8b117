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


_HOMES = {
    "Callback": "base",
    "JSONLinesCallback": "jsonlines",
    "LoggingCallback": "logs",
    "ProgressCallback": "progress",
    "WebhookCallback": "webhook",
}
"""The modules of the callbacks; all other names are events."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'slurm.callbacks' has no attribute {name!r}")
    return getattr(importlib.import_module(f"slurm.callbacks.{_HOMES.get(name, 'events')}"), name)
