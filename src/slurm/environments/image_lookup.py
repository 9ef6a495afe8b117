"""Which image a tag names now: asks a registry, by the protocol that all of them speak (OCI distribution).

Needs a Python and nothing else, for it is run where the image will be pulled. Its arguments are registry, repository,
tag, and `tls` or `plain`.
Prints a JSON object: the `digest` and the `platforms` that there are, or `refused`, why not.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import ssl
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

LISTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
TIMEOUT = 30
HUB = "docker.io"


class Refused(Exception):
    """The registry has no such image, or doesn't give it."""


class Registry:
    """One registry, and what it wants to see."""

    def __init__(self, name: str, repository: str, *, plain: bool) -> None:
        self.name, self.repository = name, repository
        host = "registry-1.docker.io" if name == HUB else name
        self.base = f"{'http' if plain else 'https'}://{host}/v2/{repository}"
        self.authorization: str | None = None

    def get(self, path: str) -> tuple[dict[str, str], bytes]:
        """The headers, by their names in lower case, and the body of a part of the repository. Raises Refused."""
        url = f"{self.base}/{path}"
        for last in (False, True):
            headers = {"Accept": ", ".join([*LISTS, *MANIFESTS])}
            if self.authorization:
                headers["Authorization"] = self.authorization
            try:
                with _opened(url, headers) as answer:
                    return {name.lower(): value for name, value in answer.headers.items()}, answer.read()
            except urllib.error.HTTPError as error:
                if error.code == 401 and not last:
                    self.authorization = self._authorize(error.headers.get("WWW-Authenticate", ""))
                    continue
                raise _refusal(error) from error
        raise AssertionError

    def _authorize(self, challenge: str) -> str | None:
        """What to send to a registry that wants to know who asks."""
        kind, _, rest = challenge.partition(" ")
        login = credentials(self.name)
        basic = f"Basic {base64.b64encode(':'.join(login).encode()).decode()}" if login else None
        if kind.lower() != "bearer":
            return basic
        asked = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        query = {"service": asked.get("service", ""), "scope": f"repository:{self.repository}:pull"}
        headers = {"Authorization": basic} if basic else {}
        url = f"{asked.get('realm', '')}?{urllib.parse.urlencode(query)}"
        try:
            with _opened(url, headers) as answer:
                told = json.load(answer)
        except urllib.error.HTTPError as error:
            raise _refusal(error) from error
        return f"Bearer {told.get('token') or told.get('access_token')}"


def _opened(url: str, headers: dict[str, str]) -> Any:
    if not url.startswith(("https://", "http://")):
        raise Refused(f"it sends one to {url!r} for a token")
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - as above
    return urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310


def _refusal(error: urllib.error.HTTPError) -> Exception:
    """What a registry says about why it doesn't, such as "manifest unknown"; or that it isn't well, or too busy."""
    try:
        told = json.loads(error.read())["errors"][0]
        words = str(told.get("message") or told.get("code"))
    except (ValueError, LookupError, TypeError, AttributeError):
        words = str(error.reason)
    words = f"{words} (HTTP {error.code})"
    return OSError(words) if error.code >= 500 or error.code == 429 else Refused(words)


def credentials(registry: str) -> list[str] | None:
    """The name and the password that `podman login`, `docker login` or `apptainer remote login` has kept."""
    for path in _login_files():
        try:
            with open(path, encoding="utf-8") as file:
                kept = json.load(file)
        except (OSError, ValueError):
            continue
        for name in (registry, *(("https://index.docker.io/v1/",) if registry == HUB else ())):
            helper = kept.get("credHelpers", {}).get(name) or kept.get("credsStore")
            found = _from_helper(helper, name) if helper else kept.get("auths", {}).get(name, {}).get("auth")
            if found:
                return found if isinstance(found, list) else base64.b64decode(found).decode().split(":", 1)
    return None


def _login_files() -> list[str]:
    home = os.path.expanduser("~")
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    files = [
        os.environ.get("REGISTRY_AUTH_FILE"),
        f"{runtime}/containers/auth.json",
        f"/run/containers/{os.getuid()}/auth.json",
        f"{os.environ.get('XDG_CONFIG_HOME') or f'{home}/.config'}/containers/auth.json",
        f"{os.environ.get('DOCKER_CONFIG') or f'{home}/.docker'}/config.json",
        f"{home}/.apptainer/docker-config.json",
    ]
    return [file for file in files if file]


def _from_helper(helper: str, registry: str) -> list[str] | None:
    try:
        done = subprocess.run(
            [f"docker-credential-{helper}", "get"],
            input=registry,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        told = json.loads(done.stdout)
        return [told["Username"], told["Secret"]]
    except (OSError, subprocess.SubprocessError, ValueError, LookupError):
        return None


def look_up(name: str, repository: str, which: str, *, plain: bool) -> dict[str, object]:
    """The digest of a tag or digest, and its platforms, such as "linux/amd64". Raises Refused, OSError."""
    registry = Registry(name, repository, plain=plain)
    try:
        headers, body = registry.get(f"manifests/{which}")
    except urllib.error.URLError as error:
        if not plain or not isinstance(error.reason, (ssl.SSLError, ConnectionError)):
            raise
        registry = Registry(name, repository, plain=False)  # one on loopback may have TLS all the same
        headers, body = registry.get(f"manifests/{which}")
    manifest = json.loads(body)
    if manifest.get("mediaType", headers.get("content-type")) in LISTS or "manifests" in manifest:
        told = [each.get("platform", {}) for each in manifest["manifests"]]
    else:
        told = [json.loads(registry.get(f"blobs/{manifest['config']['digest']}")[1])]
    platforms = sorted({f"{each.get('os')}/{each.get('architecture')}" for each in told} - {"unknown/unknown"})
    return {"digest": f"sha256:{hashlib.sha256(body).hexdigest()}", "platforms": platforms}


def asked(name: str, repository: str, which: str, plain: str) -> dict[str, object]:
    """What `look_up` finds, or why not: `refused` is the registry's word, `unreachable` isn't."""
    try:
        return look_up(name, repository, which, plain=plain == "plain")
    except Refused as error:
        return {"refused": str(error)}
    except (OSError, ValueError, LookupError) as error:
        return {"unreachable": str(getattr(error, "reason", None) or error)}


if __name__ == "__main__":
    print(json.dumps(asked(*sys.argv[1:])))  # noqa: T201 - its output is its answer
