"""Initialized: a function with an initializer. Each process calls the initializer once, before its first call."""

from __future__ import annotations

import os

from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

_begun: set[tuple[int, str]] = set()
"""The processes that have called an initializer, with the executor's token. A forked child calls it again."""


class Initialized:
    """A function of an executor that has an initializer.

    `executor` is a token of the executor: all its functions share one call of the initializer in each process. `name`
    is the name of the task. An exception of the initializer becomes a BrokenExecutor with its text.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        *,
        initializer: Callable[..., object],
        initargs: Sequence[Any],
        executor: str,
    ) -> None:
        self.__wrapped__ = function  # `inspect.signature` reads this
        self.__name__ = name
        self._initializer, self._initargs, self._executor = initializer, tuple(initargs), executor

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the initializer if this process has not called it yet, then the function. Raises BrokenExecutor."""
        process = (os.getpid(), self._executor)
        if process not in _begun:
            try:
                self._initializer(*self._initargs)
            except Exception as error:  # the user's code: the executor must know that it was not the call that failed
                from concurrent.futures import BrokenExecutor  # noqa: PLC0415 - most initializers succeed

                raise BrokenExecutor(f"the initializer failed: {type(error).__name__}: {error}") from error
            _begun.add(process)
        return self.__wrapped__(*args, **kwargs)
