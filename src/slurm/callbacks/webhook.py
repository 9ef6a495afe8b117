"""WebhookCallback: a notice to a web service, sent by the node, so that it comes with the laptop closed."""

from __future__ import annotations

from slurm.callbacks.base import NODE_HOOKS, Callback
from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import Any

    from slurm.callbacks.events import CompleteEvent, NodeEvent

_TRIES, _PAUSE = 2, 1.0


class WebhookCallback(Callback):
    """Posts JSON to a URL: an event's fields, and `text`, a line for people, as chats want it.

    Whoever knows a webhook's URL can post to it, so it is never written to a job's directory. The node takes it from
    its environment, `$NAME` in `url`, or from `url_file`, a file there that its owner alone can read. Exactly one of
    `url` and `url_file` is given. A URL without `$NAME` stays in this process, which posts to it while it runs, when an
    element has ended; no other hook can be asked for then.

    `on` are the hooks that it is sent for, `failures` has only what failed be told. A service that can't be reached is
    tried twice, `timeout` seconds each. Raises ValueError.
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
        from slurm.sanitize.numbers import positive_seconds  # noqa: PLC0415 - a node makes none
        from slurm.sanitize.redaction import has_password  # noqa: PLC0415

        self.url, self.url_file, self.failures = url, url_file, failures
        self.timeout = positive_seconds(timeout, "timeout")
        self.on = (on,) if isinstance(on, str) else tuple(on)
        if (url is None) == (url_file is None):
            raise ValueError("WebhookCallback takes a url or a url_file")
        if unknown := set(self.on) - set(NODE_HOOKS):
            raise ValueError(f"on={sorted(unknown)}: a node has the hooks {', '.join(NODE_HOOKS)}")
        if url is not None and has_password(url):
            raise ValueError("a password in a URL would be written to the job's directory: use $NAME or url_file")
        if self._stays_here and set(self.on) != {"on_completed"}:
            raise ValueError(
                f"on={sorted(self.on)}: the node isn't given a URL that is written out, which may be a secret: put it "
                "into a variable of the job's environment ($NAME), or into a file there (url_file)"
            )
        if self._stays_here:
            import logging  # noqa: PLC0415 - as above

            logging.getLogger(__name__).warning(
                "a webhook's URL is written out, so it isn't sent to the node: this program posts to it while it runs. "
                "For notices from the node, use $NAME or url_file"
            )

    @property
    def _stays_here(self) -> bool:
        """Whether the URL is written out, so that it isn't sent to the node, and this process posts to it."""
        return self.url is not None and not _names(self.url)

    @property
    def unused(self) -> Collection[str]:  # type: ignore[override]
        """The node's hooks that post, or the client's: one of both does."""
        hooks = NODE_HOOKS if self._stays_here else ("on_complete",)
        return [hook for hook in hooks if getattr(type(self), hook) is getattr(WebhookCallback, hook)]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, **({"url": None, "on": ()} if self._stays_here else {})}

    def body(self, event: NodeEvent | CompleteEvent) -> Mapping[str, Any]:
        """What is sent, as JSON: override it for a service that wants another form."""
        return {"text": str(event), **event.told()}

    def _send(self, event: NodeEvent) -> None:
        if event.hook in self.on and not self._stays_here and not (self.failures and not event.failed):
            self._post(event)

    on_run_begin = on_run_end = on_completed = on_workflow_begin = on_workflow_end = _send

    def on_complete(self, event: CompleteEvent) -> None:
        """An element has ended: posted from here if the node isn't given the URL."""
        if self._stays_here and not (self.failures and not event.failed):
            self._post(event)

    def _post(self, event: NodeEvent | CompleteEvent) -> None:
        import json  # noqa: PLC0415 - only where something is sent

        _post(self._address(), json.dumps(self.body(event), default=str).encode(), self.timeout)

    def _address(self) -> str:
        import os  # noqa: PLC0415 - as above

        if self.url_file is not None:
            with open(os.path.expanduser(self.url_file), encoding="utf-8", errors="replace") as file:
                if os.fstat(file.fileno()).st_mode & 0o077:
                    from shlex import quote  # noqa: PLC0415 - as above

                    path = self.url_file
                    raise PermissionError(f"{path} must be readable by its owner alone: chmod 600 {quote(path)}")
                return file.read().strip()
        written = str(self.url)
        for name in _names(written):
            if name not in os.environ:
                raise LookupError(f"the node has no variable {name}, which the webhook's URL names")
        return os.path.expandvars(written).strip()


def _names(url: str) -> list[str]:
    """The variables that stand in a URL, as `$NAME` or `${NAME}`."""
    import re  # noqa: PLC0415 - as above

    return ["".join(found) for found in re.findall(r"\$(?:(\w+)|\{([^}]*)\})", url, re.ASCII)]


def _post(address: str, body: bytes, timeout: float) -> None:
    """Send it. No error has a part of the address in it: it would be written to the job's log."""
    import time  # noqa: PLC0415 - as above

    if not address.lower().startswith(("http://", "https://")):
        raise ValueError("the webhook's URL must begin with http:// or https://")
    for left in reversed(range(_TRIES)):
        trouble, passing = _tried(address, body, timeout)
        if not trouble:
            return
        if not passing or not left:
            raise RuntimeError(f"the webhook wasn't taken: {trouble}")
        time.sleep(_PAUSE)


def _tried(address: str, body: bytes, timeout: float) -> tuple[str, bool]:
    """What keeps the service from taking it, empty if nothing does; and whether that may pass.

    Errors of the standard library quote the URL or parts of it, so none of their words are told.
    """
    from urllib.error import HTTPError  # noqa: PLC0415 - as above
    from urllib.request import Request, urlopen  # noqa: PLC0415

    try:
        request = Request(address, body, {"Content-Type": "application/json", "User-Agent": "slurm-tasks"})  # noqa: S310
        with urlopen(request, timeout=timeout):  # noqa: S310 - http or https, as looked at above
            return "", False
    except HTTPError as error:
        error.close()
        return f"HTTP status {error.code}", error.code >= 500
    except OSError as error:
        reason = getattr(error, "reason", error)
        return _named(reason), True
    except Exception as error:  # noqa: BLE001 - whatever an odd address makes of http.client
        return f"the URL can't be used ({type(error).__name__})", False


def _named(reason: object) -> str:
    """What an error of the system or of TLS is called."""
    import os  # noqa: PLC0415 - as above

    number = getattr(reason, "errno", None)
    if isinstance(reason, OSError) and type(reason).__module__ == "builtins" and isinstance(number, int):
        return f"{type(reason).__name__}: {os.strerror(number)}"
    return type(reason).__name__ if isinstance(reason, BaseException) else "the connection failed"
