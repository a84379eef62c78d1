"""A W&B server on this machine, as far as W&B's process asks anything of it: it counts the rows that it is sent."""

from __future__ import annotations

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class WandbServer:
    """Answers until it is closed.

    Args:
        talks_nonsense: Whether it answers some questions with an empty object.

    Attributes:
        history: Rows of history received, by run.
        received: All that was sent to it, requests' paths before their bodies.
        url: Its address, on the loopback interface.
    """

    def __init__(self, talks_nonsense: bool = False) -> None:
        self.talks_nonsense = talks_nonsense
        self.received: list[bytes] = []
        self.history: dict[str, list[dict[str, Any]]] = {}
        self._server = _Quiet(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def environment(self) -> dict[str, str]:
        """Of a program that is to use it."""
        return {"WANDB_MODE": "online", "WANDB_BASE_URL": self.url, "WANDB_API_KEY": "a" * 40}


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    owner: WandbServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Quiet

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._body()
        self._answer({})

    def do_PUT(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        try:
            document = json.loads(self._body())
        except ValueError:  # telemetry
            document = {}
        query = document.get("query", "") if isinstance(document, dict) else ""
        if query:
            self._answer({"data": _resolve(query, document.get("variables") or {}, self.server.owner)})
            return
        if self.path.endswith("/file_stream"):
            run = self.path.split("/")[-2]
            sent = (document.get("files") or {}).get("wandb-history.jsonl", {}).get("content", [])
            self.server.owner.history.setdefault(run, []).extend(map(json.loads, sent))
        self._answer({})

    def _body(self) -> bytes:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data
        self.server.owner.received.append(self.path.encode() + b"\n" + data)
        return data

    def _answer(self, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _resolve(query: str, variables: dict[str, Any], server: WandbServer) -> dict[str, Any]:
    if "upsertBucket" in query:
        name = variables.get("name") or "run"
        project = {"id": "p", "name": "project", "entity": {"id": "e", "name": "somebody"}}
        bucket = {"id": "b", "name": name, "displayName": name, "project": project, "historyLineCount": 0}
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}
    if "createRunFiles" in query:
        files = [{"name": name, "uploadUrl": f"{server.url}/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
    if "createArtifact(" in query:  # it is there already: nothing to upload
        return {"createArtifact": {"artifact": {"id": "a", "state": "COMMITTED", "artifactSequence": {"id": "s"}}}}
    fixed: dict[str, dict[str, Any]] = {
        "viewer": {"id": "v", "entity": "somebody", "username": "somebody", "flags": "{}"},
        "serverInfo": {"features": []},
        "model": {"bucket": None},
    }
    asked = next((word for word in fixed if word in query), None)
    if asked is None and "project(" in query and not server.talks_nonsense:
        return {"project": None}  # what W&B asks before it logs a table
    return {} if asked is None else {asked: fixed[asked]}
