"""A REST catalog in one process, word for word after Apache Iceberg's specification: for what no server at hand does rightly.

It registers what others wrote, holds any name, gives pages of two, wants the parent of a namespace to be there, and assigns ids
as the reference implementation does.
"""

from __future__ import annotations

import copy
import json
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

Json = dict[str, Any]
PAGE = 2


def committed(current: Json, updates: list[Json]) -> Json:
    """``current`` after ``updates``, as the specification describes them."""
    state = copy.deepcopy(current)
    lists = {
        "schema": ("schemas", "schema-id"),
        "spec": ("partition-specs", "spec-id"),
        "sort-order": ("sort-orders", "order-id"),
    }
    for update in updates:
        action = update["action"]
        if action == "upgrade-format-version":
            assert update["format-version"] > state["format-version"]
            state["format-version"] = update["format-version"]
        elif action == "set-location":
            state["location"] = update["location"]
        elif action.removeprefix("add-") in lists:
            word = action.removeprefix("add-")
            key, identity = lists[word]
            state[key].append({**update[word], identity: max(entry[identity] for entry in state[key]) + 1})
        elif action in ("set-current-schema", "set-default-spec", "set-default-sort-order"):
            named = {"schema": "current-schema-id", "spec": "default-spec-id", "sort-order": "default-sort-order-id"}
            word = action.removeprefix("set-current-").removeprefix("set-default-")
            (state[named[word]],) = [value for name, value in update.items() if name != "action"]
        elif action == "add-snapshot":
            assert update["snapshot"]["sequence-number"] > state["last-sequence-number"]
            state["last-sequence-number"] = update["snapshot"]["sequence-number"]
            state["snapshots"].append(update["snapshot"])
        elif action == "set-snapshot-ref":
            assert update["snapshot-id"] in [snapshot["snapshot-id"] for snapshot in state["snapshots"]]
            state["refs"][update["ref-name"]] = {key: value for key, value in update.items() if key not in ("action", "ref-name")}
        elif action == "remove-snapshot-ref":
            del state["refs"][update["ref-name"]]
        elif action == "remove-snapshots":
            held = {ref["snapshot-id"] for ref in state["refs"].values()}
            assert not held & set(update["snapshot-ids"])
            state["snapshots"] = [one for one in state["snapshots"] if one["snapshot-id"] not in update["snapshot-ids"]]
        elif action == "set-properties":
            state["properties"] |= update["updates"]
        elif action == "remove-properties":
            for key in update["removals"]:
                del state["properties"][key]
        elif action.startswith(("set-", "remove-")) and action.endswith("statistics"):
            word = action.partition("-")[2]
            kept = [entry for entry in state.get(word, []) if entry["snapshot-id"] != update["snapshot-id"]]
            state[word] = [*kept, update[word]] if action.startswith("set-") else kept
        elif action == "remove-schemas":
            assert state["current-schema-id"] not in update["schema-ids"]
            state["schemas"] = [entry for entry in state["schemas"] if entry["schema-id"] not in update["schema-ids"]]
        elif action == "remove-partition-specs":
            assert state["default-spec-id"] not in update["spec-ids"]
            state["partition-specs"] = [one for one in state["partition-specs"] if one["spec-id"] not in update["spec-ids"]]
        else:
            raise AssertionError(f"the specification has no update {action!r}")
    return {**state, "current-snapshot-id": state["refs"].get("main", {"snapshot-id": -1})["snapshot-id"]}


def met(requirements: list[Json], current: Json) -> bool:
    """Whether every requirement holds."""
    plain = {
        "assert-table-uuid": ("uuid", "table-uuid"),
        "assert-current-schema-id": ("current-schema-id", "current-schema-id"),
        "assert-default-spec-id": ("default-spec-id", "default-spec-id"),
        "assert-default-sort-order-id": ("default-sort-order-id", "default-sort-order-id"),
        "assert-last-assigned-field-id": ("last-assigned-field-id", "last-column-id"),
        "assert-last-assigned-partition-id": ("last-assigned-partition-id", "last-partition-id"),
    }
    for one in requirements:
        if one["type"] == "assert-ref-snapshot-id":
            if current["refs"].get(one["ref"], {"snapshot-id": None})["snapshot-id"] != one["snapshot-id"]:
                return False
        else:
            stated, found = plain[one["type"]]
            if one[stated] != current[found]:
                return False
    return True


class RestModel:
    """A context manager; ``uri`` is its address, ``endless`` makes every listing give its first page for ever."""

    def __init__(self) -> None:
        self.namespaces: set[tuple[str, ...]] = set()
        self.tables: dict[tuple[str, ...], str] = {}
        self.endless = False
        self._lock = threading.Lock()
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer({})

            def do_POST(self) -> None:
                self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _answer(self, body: Json) -> None:
                parts = urlsplit(self.path)
                names = [unquote(part) for part in parts.path.split("/")[2:]]
                with model._lock:
                    status, answer = model.answer(self.command, names, body, parse_qs(parts.query))
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, names: list[str], body: Json, query: dict[str, list[str]]) -> tuple[int, Json]:
        """The status and the body of the answer to one request, whose path was split at its slashes and then decoded."""
        if names == ["config"]:
            return 200, {"defaults": {}, "overrides": {}}
        if names == ["namespaces"]:
            return self._create(tuple(body["namespace"]))
        namespace = tuple(names[1].split("\x1f"))
        if namespace not in self.namespaces:
            return _refused(404, "NoSuchNamespaceException")
        match names[2:]:
            case []:
                return 200, {"namespace": list(namespace), "properties": {}}
            case ["register"]:
                return self._register((*namespace, body["name"]), body["metadata-location"])
            case ["tables"]:
                return self._page(namespace, int(query.get("pageToken", ["0"])[0]))
            case ["tables", name]:
                return self._load((*namespace, name)) if method == "GET" else self._commit((*namespace, name), body)
        return _refused(404, "NoSuchPath")

    def _create(self, namespace: tuple[str, ...]) -> tuple[int, Json]:
        if namespace in self.namespaces:
            return _refused(409, "AlreadyExistsException")
        if namespace[:-1] and namespace[:-1] not in self.namespaces:
            return _refused(404, "NoSuchNamespaceException")
        self.namespaces.add(namespace)
        return 200, {"namespace": list(namespace)}

    def _register(self, table: tuple[str, ...], location: str) -> tuple[int, Json]:
        if table in self.tables:
            return _refused(409, "AlreadyExistsException")
        self.tables[table] = location
        return self._load(table)

    def _load(self, table: tuple[str, ...]) -> tuple[int, Json]:
        if table not in self.tables:
            return _refused(404, "NoSuchTableException")
        location = self.tables[table]
        return 200, {"metadata-location": location, "metadata": json.loads(_file(location).read_bytes())}

    def _page(self, namespace: tuple[str, ...], begin: int) -> tuple[int, Json]:
        found = sorted(table for table in self.tables if table[:-1] == namespace)
        left = begin + PAGE < len(found)
        token = "0" if self.endless else str(begin + PAGE) if left else None
        page = [{"namespace": list(namespace), "name": table[-1]} for table in found[begin : begin + PAGE]]
        return 200, {"identifiers": page, **({} if token is None else {"next-page-token": token})}

    def _commit(self, table: tuple[str, ...], body: Json) -> tuple[int, Json]:
        status, now = self._load(table)
        if status != 200:
            return status, now
        if not met(body["requirements"], now["metadata"]):
            return _refused(409, "CommitFailedException")
        metadata = committed(now["metadata"], body["updates"])
        metadata["schemas"] = [{"identifier-field-ids": [], **schema} for schema in metadata["schemas"]]  # as servers write them
        location = f"{metadata['location']}/metadata/{uuid.uuid4()}.metadata.json"
        _file(location).write_text(json.dumps(metadata))
        self.tables[table] = location
        return 200, {"metadata-location": location, "metadata": metadata}


def _refused(status: int, kind: str) -> tuple[int, Json]:
    return status, {"error": {"code": status, "type": kind, "message": kind}}


def _file(location: str) -> Path:
    return Path(location.removeprefix("file://"))
