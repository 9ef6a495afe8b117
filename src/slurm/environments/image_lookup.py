"""Look up the image of a tag in a registry (OCI distribution protocol).

Needs only a Python, because it runs where the image will be pulled. Its arguments are the registry, the repository, the
tag, and `tls` or `plain`. It prints a JSON object: the `digest` and the `platforms` of the image, or the reason, as
`refused` or `unreachable`.
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
    """The registry has no such image, or denies access to it."""


class Registry:
    """A repository of a registry, and the authorization for it."""

    def __init__(self, name: str, repository: str, *, plain: bool) -> None:
        self.name, self.repository = name, repository
        host = "registry-1.docker.io" if name == HUB else name
        self.base = f"{'http' if plain else 'https'}://{host}/v2/{repository}"
        self.authorization: str | None = None

    def get(self, path: str) -> tuple[dict[str, str], bytes]:
        """Get a part of the repository: its headers, with names in lower case, and its body. Raises Refused."""
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
        """Return the Authorization header that answers a challenge of the registry."""
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
                token = json.load(answer)
        except urllib.error.HTTPError as error:
            raise _refusal(error) from error
        return f"Bearer {token.get('token') or token.get('access_token')}"


def _opened(url: str, headers: dict[str, str]) -> Any:
    if not url.startswith(("https://", "http://")):
        raise Refused(f"it redirects to {url!r} for a token")
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - as above
    return urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310


def _refusal(error: urllib.error.HTTPError) -> Exception:
    """Return the error for an answer of a registry, with its reason, such as "manifest unknown"."""
    try:
        first = json.loads(error.read())["errors"][0]
        reason = str(first.get("message") or first.get("code"))
    except (ValueError, LookupError, TypeError, AttributeError):
        reason = str(error.reason)
    reason = f"{reason} (HTTP {error.code})"
    return OSError(reason) if error.code >= 500 or error.code == 429 else Refused(reason)


def credentials(registry: str) -> list[str] | None:
    """Return the user and password that `podman login`, `docker login` or `apptainer remote login` has stored."""
    for path in _login_files():
        try:
            with open(path, encoding="utf-8") as file:
                stored = json.load(file)
        except (OSError, ValueError):
            continue
        for name in (registry, *(("https://index.docker.io/v1/",) if registry == HUB else ())):
            helper = stored.get("credHelpers", {}).get(name) or stored.get("credsStore")
            found = _from_helper(helper, name) if helper else stored.get("auths", {}).get(name, {}).get("auth")
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
        found = json.loads(done.stdout)
        return [found["Username"], found["Secret"]]
    except (OSError, subprocess.SubprocessError, ValueError, LookupError):
        return None


def look_up(name: str, repository: str, which: str, *, plain: bool) -> dict[str, object]:
    """Return the digest and the platforms (such as "linux/amd64") of a tag or digest. Raises Refused, OSError."""
    registry = Registry(name, repository, plain=plain)
    try:
        headers, body = registry.get(f"manifests/{which}")
    except urllib.error.URLError as error:
        if not plain or not isinstance(error.reason, (ssl.SSLError, ConnectionError)):
            raise
        registry = Registry(name, repository, plain=False)  # a registry on loopback may use TLS, too
        headers, body = registry.get(f"manifests/{which}")
    manifest = json.loads(body)
    if manifest.get("mediaType", headers.get("content-type")) in LISTS or "manifests" in manifest:
        found = [each.get("platform", {}) for each in manifest["manifests"]]
    else:
        found = [json.loads(registry.get(f"blobs/{manifest['config']['digest']}")[1])]
    platforms = sorted({f"{each.get('os')}/{each.get('architecture')}" for each in found} - {"unknown/unknown"})
    return {"digest": f"sha256:{hashlib.sha256(body).hexdigest()}", "platforms": platforms}


def answer(name: str, repository: str, which: str, plain: str) -> dict[str, object]:
    """Return what `look_up` finds, or why it failed: `refused` by the registry, or `unreachable`."""
    try:
        return look_up(name, repository, which, plain=plain == "plain")
    except Refused as error:
        return {"refused": str(error)}
    except (OSError, ValueError, LookupError) as error:
        return {"unreachable": str(getattr(error, "reason", None) or error)}


if __name__ == "__main__":
    print(json.dumps(answer(*sys.argv[1:])))  # noqa: T201 - its output is its answer
