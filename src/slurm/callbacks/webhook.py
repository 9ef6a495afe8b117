"""WebhookCallback: a notice to a web service, sent by the node, so that it comes with the laptop closed."""

from __future__ import annotations

from slurm.callbacks.base import NODE_HOOKS, Callback
from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from slurm.callbacks.events import NodeEvent

_TRIES, _PAUSE = 2, 1.0


class WebhookCallback(Callback):
    """Posts JSON to a URL from the node: an event's fields, and `text`, a line for people, as chats want it.

    `on` are the hooks that it is sent for, `failures` has only what failed be told. The URL travels with the job and is
    written there, so what must not be is left out of it: `$NAME` in it is a variable of the node's environment, and
    `url_file` names a file there, readable by its owner alone, that holds the URL. Exactly one of the two is given.

    Raises ValueError. A service that can't be reached is tried twice, `timeout` seconds each.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        url_file: str | None = None,
        on: Iterable[str] = ("on_completed",),
        failures: bool = False,
        timeout: float = 10.0,
    ) -> None:
        self.url, self.url_file, self.failures, self.timeout = url, url_file, failures, timeout
        self.on = (on,) if isinstance(on, str) else tuple(on)
        if (url is None) == (url_file is None):
            raise ValueError("WebhookCallback takes a url or a url_file")
        if unknown := set(self.on) - set(NODE_HOOKS):
            raise ValueError(f"on={sorted(unknown)}: a node has the hooks {', '.join(NODE_HOOKS)}")
        if url is not None and "@" in url.partition("//")[2].partition("/")[0]:
            raise ValueError("a password in a URL would be written to the job's directory: use $NAME or url_file")

    def body(self, event: NodeEvent) -> Mapping[str, Any]:
        """What is sent, as JSON: override it for a service that wants another form."""
        return {"text": str(event), **event.told()}

    def _send(self, event: NodeEvent) -> None:
        if event.hook not in self.on or (self.failures and not event.failed):
            return
        import json  # noqa: PLC0415 - only where something is sent

        _post(self._address(), json.dumps(self.body(event), default=str).encode(), self.timeout)

    on_run_begin = on_run_end = on_completed = on_workflow_begin = on_workflow_end = _send

    def _address(self) -> str:
        import os  # noqa: PLC0415 - as above

        if self.url_file is not None:
            with open(os.path.expanduser(self.url_file)) as file:
                if os.fstat(file.fileno()).st_mode & 0o077:
                    raise PermissionError(f"{self.url_file} must be readable by its owner alone: chmod 600")
                return file.read().strip()
        address = os.path.expandvars(str(self.url))
        if "$" in address:
            raise LookupError(f"{self.url}: the node has no such variable")
        return address


def _post(address: str, body: bytes, timeout: float) -> None:
    """Send it. No error has the address in it: it would be written to the job's log."""
    import time  # noqa: PLC0415 - as above
    from urllib.error import HTTPError, URLError  # noqa: PLC0415
    from urllib.request import Request, urlopen  # noqa: PLC0415

    if not address.startswith(("http://", "https://")):
        raise ValueError("the webhook's URL must begin with http:// or https://")
    request = Request(address, body, {"Content-Type": "application/json", "User-Agent": "slurm-tasks"})  # noqa: S310
    for left in reversed(range(_TRIES)):
        try:
            with urlopen(request, timeout=timeout):  # noqa: S310 - http or https, as looked at above
                return
        except HTTPError as error:
            words, again = f"HTTP status {error.code}", error.code >= 500
        except (URLError, OSError) as error:
            words, again = str(getattr(error, "reason", error)), True
        if not again or not left:
            raise RuntimeError(f"the webhook wasn't taken: {words}") from None
        time.sleep(_PAUSE)
