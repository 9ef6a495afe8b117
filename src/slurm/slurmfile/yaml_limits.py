"""Limits on the size of YAML: count the values that aliases stand for before anything iterates over them.

PyYAML makes one node for all aliases of an anchor, so a file of a few hundred bytes can contain more values than fit
into memory. Composing stops at the first value beyond a limit.
"""

from __future__ import annotations

import yaml

MOST_NODES, MOST_LEVELS = 10_000, 50


class TooLarge(Exception):
    """The file exceeds a limit. The message names the limit; `line` is the position."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


class _BoundedLoader(yaml.BaseLoader):
    """Composes nodes, and counts the nodes that each alias stands for."""

    def __init__(self, text: str, most: int) -> None:
        super().__init__(text)
        self._most = most
        self._nodes = self._level = self._deepest = 0
        self._sizes: dict[str, tuple[int, int]] = {}  # the numbers of nodes and levels that an anchor stands for

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            self._count(*self._of_alias(str(event.anchor), line), line)
            return super().compose_node(parent, index)
        before, outer_deepest = self._nodes, self._deepest
        self._level += 1
        self._deepest = self._level
        self._count(1, 0, line)
        node = super().compose_node(parent, index)
        if event.anchor is not None:
            self._sizes[event.anchor] = (self._nodes - before, self._deepest - self._level + 1)
        self._level -= 1
        self._deepest = max(outer_deepest, self._deepest)
        return node

    def _of_alias(self, anchor: str, line: int) -> tuple[int, int]:
        if anchor in self.anchors and anchor not in self._sizes:
            raise TooLarge(f"a value contains itself through its alias *{anchor}", line)
        return self._sizes.get(anchor, (0, 0))  # PyYAML refuses an undefined alias

    def _count(self, nodes: int, levels: int, line: int) -> None:
        self._nodes += nodes
        self._deepest = max(self._deepest, self._level + levels)
        if self._nodes > self._most:
            raise TooLarge(f"more than {self._most} values, including those that aliases stand for", line)
        if self._deepest > MOST_LEVELS:
            raise TooLarge(f"values nested more than {MOST_LEVELS} levels deep", line)


def compose(text: str, *, most: int = MOST_NODES) -> yaml.Node | None:
    """Compose the node of a text with at most `most` values. None for an empty text. Raises YAMLError, TooLarge."""
    loader = _BoundedLoader(text, most)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()
