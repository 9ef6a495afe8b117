"""WebhookCallback: notify a web service from the node, also while the client is off."""

from __future__ import annotations

from slurm.callbacks.base import NODE_HOOKS, Callback
from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import Any

    from slurm.callbacks.events import CompleteEvent, NodeEvent

_TRIES, _PAUSE = 2, 1.0


class WebhookCallback(Callback):
    """Post JSON to a URL: an event's fields, and `text`, a readable line for chat services.

    Anybody who knows a webhook's URL can post to it, so the URL is never written to a job's directory. The node reads
    the URL from its environment (`$NAME` in `url`), or from `url_file`, a file on the node that only its owner can
    read. Pass exactly one of `url` and `url_file`. A URL without `$NAME` stays in this process. This process then posts
    when an element finishes while the process runs; other hooks are not available.

    `on` selects the hooks that post; with `failures`, only failures are posted. If the service cannot be reached, the
    callback tries a second time, with `timeout` seconds for each try. Raises ValueError for invalid arguments.
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
        from slurm.sanitize.numbers import positive_seconds  # noqa: PLC0415 - not needed on a node
        from slurm.sanitize.redaction import has_password  # noqa: PLC0415

        self.url, self.url_file, self.failures = url, url_file, failures
        self.timeout = positive_seconds(timeout, "timeout")
        self.on = (on,) if isinstance(on, str) else tuple(on)
        if (url is None) == (url_file is None):
            raise ValueError("WebhookCallback needs either url or url_file")
        if unknown := set(self.on) - set(NODE_HOOKS):
            raise ValueError(f"on={sorted(unknown)}: the hooks of a node are {', '.join(NODE_HOOKS)}")
        if url is not None and has_password(url):
            raise ValueError("a password in a URL would be written to the job's directory: use $NAME or url_file")
        if self._is_local and set(self.on) != {"on_completed"}:
            raise ValueError(
                f"on={sorted(self.on)}: a literal URL may be a secret, so the node does not receive it: put it into a "
                "variable of the job's environment ($NAME), or into a file on the cluster (url_file)"
            )
        if self._is_local:
            import logging  # noqa: PLC0415 - as above

            logging.getLogger(__name__).warning(
                "a webhook has a literal URL, which is not sent to the node: this program posts to it while it runs. "
                "To post from the node, use $NAME or url_file"
            )

    @property
    def _is_local(self) -> bool:
        """Whether the URL is literal. It is then not sent to the node, and this process posts to it."""
        return self.url is not None and not _names(self.url)

    @property
    def unused(self) -> Collection[str]:  # type: ignore[override]
        """The node's hooks if this process posts; otherwise the client's hook."""
        hooks = NODE_HOOKS if self._is_local else ("on_complete",)
        return [hook for hook in hooks if getattr(type(self), hook) is getattr(WebhookCallback, hook)]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, **({"url": None, "on": ()} if self._is_local else {})}

    def body(self, event: NodeEvent | CompleteEvent) -> Mapping[str, Any]:
        """Return the JSON to post. Override this method for a service that expects another form."""
        return {"text": str(event), **event.payload()}

    def _send(self, event: NodeEvent) -> None:
        if event.hook in self.on and not self._is_local and not (self.failures and not event.failed):
            self._post(event)

    on_run_begin = on_run_end = on_completed = on_workflow_begin = on_workflow_end = _send

    def on_complete(self, event: CompleteEvent) -> None:
        """Post the event from this process if the node does not have the URL."""
        if self._is_local and not (self.failures and not event.failed):
            self._post(event)

    def _post(self, event: NodeEvent | CompleteEvent) -> None:
        import json  # noqa: PLC0415 - only to send an event

        _post(self._address(), json.dumps(self.body(event), default=str).encode(), self.timeout)

    def _address(self) -> str:
        import os  # noqa: PLC0415 - as above

        if self.url_file is not None:
            with open(os.path.expanduser(self.url_file), encoding="utf-8", errors="replace") as file:
                if os.fstat(file.fileno()).st_mode & 0o077:
                    from shlex import quote  # noqa: PLC0415 - as above

                    path = self.url_file
                    raise PermissionError(f"{path} must be readable only by its owner: chmod 600 {quote(path)}")
                return file.read().strip()
        template = str(self.url)
        for name in _names(template):
            if name not in os.environ:
                raise LookupError(f"the webhook's URL contains ${name}, but the node has no variable {name}")
        return os.path.expandvars(template).strip()


def _names(url: str) -> list[str]:
    """Return the names of the variables in a URL, written as `$NAME` or `${NAME}`."""
    import re  # noqa: PLC0415 - as above

    return ["".join(found) for found in re.findall(r"\$(?:(\w+)|\{([^}]*)\})", url, re.ASCII)]


def _post(address: str, body: bytes, timeout: float) -> None:
    """Post the body, with retries. Errors contain no part of the address, because the job's log shows them."""
    import time  # noqa: PLC0415 - as above

    if not address.lower().startswith(("http://", "https://")):
        raise ValueError("the webhook's URL must begin with http:// or https://")
    for remaining in reversed(range(_TRIES)):
        problem, temporary = _try_post(address, body, timeout)
        if not problem:
            return
        if not temporary or not remaining:
            raise RuntimeError(f"the webhook failed: {problem}")
        time.sleep(_PAUSE)


def _try_post(address: str, body: bytes, timeout: float) -> tuple[str, bool]:
    """Post once. Returns the problem (empty on success), and whether the problem may be temporary.

    Errors of the standard library quote the URL or parts of it, so their messages are not used.
    """
    from urllib.error import HTTPError  # noqa: PLC0415 - as above
    from urllib.request import Request, urlopen  # noqa: PLC0415

    try:
        request = Request(address, body, {"Content-Type": "application/json", "User-Agent": "slurm-tasks"})  # noqa: S310
        with urlopen(request, timeout=timeout):  # noqa: S310 - the caller has checked for http or https
            return "", False
    except HTTPError as error:
        error.close()
        return f"HTTP status {error.code}", error.code >= 500
    except OSError as error:
        return _describe(getattr(error, "reason", error)), True
    except Exception as error:  # noqa: BLE001 - any other error may quote the URL, which is secret
        return f"the URL is invalid ({type(error).__name__})", False


def _describe(reason: object) -> str:
    """Return the name of a system or TLS error."""
    import os  # noqa: PLC0415 - as above

    number = getattr(reason, "errno", None)
    if isinstance(reason, OSError) and type(reason).__module__ == "builtins" and isinstance(number, int):
        return f"{type(reason).__name__}: {os.strerror(number)}"
    return type(reason).__name__ if isinstance(reason, BaseException) else "the connection failed"
