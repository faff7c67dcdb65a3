"""A Hub of our own on loopback: the endpoints that downloading and publishing use, and no others.

It can misbehave on request: cut a connection, redirect, refuse, or demand a token.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "a" * 40
"""The one commit that every repository here has."""
TOKEN = "hf_secret"
INVALID = "Invalid credentials in Authorization header"


@dataclass
class Hub:
    """What the server holds, does and has seen."""

    files: dict[str, bytes] = field(default_factory=dict)
    """By ``owner/repo/path``."""
    cut_after: int | None = None
    """Bytes after which the first download breaks off; later ones are whole."""
    redirect: bool = False
    """Send downloads to another address, as the Hub does with large files."""
    gated: bool = False
    """Refuse whoever has no token."""
    status: int | None = None
    """Answer everything with this."""
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, path and Range header of every request for a file."""
    uploads: dict[str, bytes] = field(default_factory=dict)
    """What was published, by path within the repository."""
    hidden: dict[str, bool] = field(default_factory=dict)
    """Repositories that were made, and whether nobody else sees them."""
    address: str = ""

    def downloads(self) -> list[str | None]:
        """The Range headers of all requests for contents."""
        return [ranged for method, _, ranged in self.requests if method == "GET"]


@contextmanager
def serving() -> Iterator[Hub]:
    """A running Hub."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Tests look at `Hub.requests` instead."""

    def do_HEAD(self) -> None:
        self._resolve(with_body=False)

    def do_GET(self) -> None:
        self._resolve(with_body=True)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif self.hub.status or self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._json({"error": "no"}, self.hub.status or 401)
        elif self.path == "/api/repos/create":
            name = json.loads(body)
            repo = f"{name.get('organization', 'me')}/{name['name']}"
            status = 409 if repo in self.hub.hidden else 200
            # As older and as newer clients say it.
            hidden = bool(name.get("private")) or name.get("visibility") == "private"
            self.hub.hidden.setdefault(repo, hidden)
            self._json({"url": f"{self.hub.address}/{repo}", "repo_id": repo}, status)
        elif "/preupload/" in self.path:
            files = [
                {"path": f["path"], "uploadMode": _mode(f["path"]), "shouldIgnore": False}
                for f in json.loads(body)["files"]
            ]
            self._json({"files": files})
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            actions = [
                {
                    "oid": one["oid"],
                    "size": one["size"],
                    "actions": {"upload": {"href": f"{self.hub.address}/blob/{one['oid']}"}},
                }
                for one in objects
            ]
            self._json({"transfer": "basic", "objects": actions})
        elif "/commit/" in self.path:
            self._commit(body)
        else:
            self._json({"error": "unknown"}, 404)

    def do_PUT(self) -> None:
        self._note()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == f"/blob/{hashlib.sha256(body).hexdigest()}"
        self.hub.uploads[self.path] = body
        self._json({})

    def _commit(self, body: bytes) -> None:
        for line in body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                self.hub.uploads[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                self.hub.uploads[value["path"]] = self.hub.uploads.pop(f"/blob/{value['oid']}")
        url = f"{self.hub.address}/{self.path.split('/api/models/')[1].split('/commit/')[0]}"
        answer = {"success": True, "commitOid": COMMIT, "commitUrl": f"{url}/commit/{COMMIT}"}
        self._json(answer)

    def _resolve(self, *, with_body: bool) -> None:
        self._note()
        hub = self.hub
        if found := re.fullmatch(r"/api/models/(.+)", self.path):
            self._json({"id": found[1], "sha": COMMIT, "siblings": []}, hub.status or 200)
            return
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        cdn = re.fullmatch(r"/cdn/(.+)", self.path)
        if hub.status:
            # Without these words a 401 may mean as well that there is no such repository.
            self._empty(hub.status, {"X-Error-Message": INVALID} if hub.status == 401 else None)
        elif cdn:
            self._send(hub.files[cdn[1]], with_body=with_body)
        elif hub.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._empty(403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"})
        elif not found or not any(name.startswith(f"{found[1]}/") for name in hub.files):
            self._empty(404, {"X-Error-Code": "RepoNotFound"})
        elif found[2] not in ("main", COMMIT):
            self._empty(404, {"X-Error-Code": "RevisionNotFound"})
        elif f"{found[1]}/{found[3]}" not in hub.files:
            self._empty(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        elif hub.redirect:
            data = hub.files[f"{found[1]}/{found[3]}"]
            facts = {
                "Location": f"{hub.address}/cdn/{found[1]}/{found[3]}",
                "X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"',
                "X-Linked-Size": str(len(data)),
                "X-Repo-Commit": COMMIT,
            }
            self._empty(302, facts)
        else:
            self._send(hub.files[f"{found[1]}/{found[3]}"], with_body=with_body)

    def _send(self, data: bytes, *, with_body: bool) -> None:
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(found[1]) if found else 0
        self.send_response(206 if found else 200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(data) - begin))
        if found:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if not with_body:
            return
        if self.hub.cut_after is not None:
            data, self.hub.cut_after = data[: self.hub.cut_after], None
            self.close_connection = True
        self.wfile.write(data[begin:])

    def _note(self) -> None:
        if not self.path.startswith("/api/"):
            self.hub.requests.append((self.command, self.path, self.headers.get("Range")))

    def _empty(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _json(self, value: Any, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _mode(path: str) -> str:
    return "lfs" if path.endswith(".safetensors") else "regular"
