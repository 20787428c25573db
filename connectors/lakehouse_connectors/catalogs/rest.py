"""Iceberg REST catalogs: pyiceberg's session logs in and builds addresses; requests and answers are raw JSON.

The protocol's ``register`` with ``overwrite`` holds no expected location and would erase a concurrent commit in silence, so it is
never sent: an update is a commit with assertions (`rest_commit`). Source: Apache Iceberg's REST catalog specification.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

from lakehouse.catalog import TableRecord, identifier_parts, identifier_text
from lakehouse.errors import Config, Conflict, Transfer, Unsupported
from lakehouse.settings import CatalogSettings, StoreSettings
from lakehouse_connectors.catalogs.entry import moved, read_metadata, record, table_parts, taken
from lakehouse_connectors.catalogs.rest_commit import commit_request, differences
from lakehouse_connectors.catalogs.rest_session import RestSession, connect

__all__ = ["RestTables", "open_rest"]

Json = dict[str, Any]


def open_rest(settings: CatalogSettings, store: StoreSettings | None) -> RestTables:
    """Open a REST catalog: log in and ask for its configuration. ``store`` reads the metadata that is to be registered."""
    if settings.uri is None:
        raise Config(f"catalog.{settings.name}: needs the key 'uri', the address of the catalog")
    return RestTables(connect(settings), store)


class RestTables:
    """The tables of one REST catalog."""

    swaps: Literal["swap", "commit"] = "commit"

    def __init__(self, session: RestSession, store: StoreSettings | None) -> None:
        self.name, self._session, self._store = session.name, session, store

    def list(self, namespace: str) -> Iterator[str]:
        levels = identifier_parts(namespace)
        seen: set[str | None] = {None}
        page: str | None = None
        while True:
            status, answer = self._session.send("GET", levels, "/tables", query={} if page is None else {"pageToken": page})
            if status == 404:
                return
            for found in _of(answer, "identifiers"):
                yield identifier_text([*found["namespace"], found["name"]])
            page = answer.get("next-page-token")
            if page in seen:
                if page is None:
                    return
                raise Transfer(
                    f"catalog {self.name}: the listing of {namespace} goes in circles: the server gives one page twice"
                )
            seen.add(page)

    def load(self, identifier: str) -> TableRecord | None:
        found = self._load(identifier)
        return None if found is None else _record(identifier, found)

    def default_location(self, identifier: str) -> str | None:
        namespace, table = table_parts(identifier)
        status, answer = self._session.send("GET", namespace)
        location = (answer.get("properties") or {}).get("location") if status == 200 else None
        return f"{location.rstrip('/')}/{table}" if location else None

    def register(self, identifier: str, metadata_location: str) -> TableRecord:
        namespace, table = table_parts(identifier)
        metadata = read_metadata(metadata_location, self._store)
        self._create_namespace(namespace)
        body = {"name": table, "metadata-location": metadata_location}
        lost: Transfer | None = None
        try:
            status, answer = self._session.send("POST", namespace, "/register", body=body)
        except Transfer as error:
            status, answer, lost = 0, {}, error
        found = self._load(identifier)
        if found is None:
            raise lost or Transfer(f"catalog {self.name}: {identifier} was not registered (HTTP {status}): {_words(answer)}")
        if status != 200 and found["metadata-location"] != metadata_location:
            raise taken(self.name, identifier, str(found["metadata-location"]), metadata_location)
        if wrong := differences(found["metadata"], metadata):
            raise Unsupported(
                f"{self.name}:{identifier} is registered now, but the catalog does not serve what stands at {metadata_location}: "
                f"{', '.join(wrong[:5])}; drop the entry there"
            )
        return _record(identifier, found)

    def swap(self, identifier: str, expected: str, metadata_location: str, metadata: dict[str, Any]) -> TableRecord:  # noqa: ARG002 - the server writes a file of its own
        namespace, table = table_parts(identifier)
        current = self._load(identifier)
        if current is None:
            raise moved(self.name, identifier, None, expected)
        if current["metadata-location"] != expected:
            if not differences(current["metadata"], metadata, settings=True):
                return _record(identifier, current)
            raise moved(self.name, identifier, current["metadata-location"], expected)
        body = commit_request({"namespace": list(namespace), "name": table}, current["metadata"], metadata)
        if not body["updates"]:
            return _record(identifier, current)
        lost: Transfer | None = None
        try:
            status, answer = self._session.send("POST", namespace, "/tables/", table, body=body)
        except Transfer as error:
            status, answer, lost = 0, {}, error
        if status == 200 and "metadata" in answer:
            return self._checked(identifier, answer, metadata)
        return self._settled(identifier, expected, metadata, lost, _words(answer))

    def close(self) -> None:
        self._session.close()

    def _checked(self, identifier: str, answer: Json, metadata: Json) -> TableRecord:
        """The record of what the server says that it committed, if that is what was asked for."""
        wrong = differences(answer["metadata"], metadata)
        if wrong:
            raise Conflict(
                f"{self.name}:{identifier}: the catalog took the commit, but its table is not what was committed: "
                f"{', '.join(wrong[:5])}. Another writer changed it at the same time, or the server dropped what it does not "
                "know; nothing of others was erased"
            )
        return _record(identifier, answer)

    def _settled(self, identifier: str, expected: str, metadata: Json, lost: Transfer | None, words: str) -> TableRecord:
        """No clear success: the table itself says what has happened."""
        found = self._load(identifier)
        if found is None:
            raise moved(self.name, identifier, None, expected)
        if not differences(found["metadata"], metadata, settings=True):
            return _record(identifier, found)
        if found["metadata-location"] != expected:
            raise moved(self.name, identifier, found["metadata-location"], expected)
        raise lost or Conflict(
            f"{self.name}:{identifier}: the catalog refused the commit on {expected}: {words}; nothing was changed"
        )

    def _load(self, identifier: str) -> Json | None:
        namespace, table = table_parts(identifier)
        status, answer = self._session.send("GET", namespace, "/tables/", table)
        if status == 404:
            return None
        metadata = answer.get("metadata")
        if not isinstance(metadata, dict) or "location" not in metadata or "metadata-location" not in answer:
            raise Transfer(f"catalog {self.name}: the answer about {identifier} holds no metadata: {json.dumps(answer)[:200]}")
        return answer

    def _create_namespace(self, levels: tuple[str, ...]) -> None:
        """Create the namespace and those that it lies in, unless they are there."""
        if self._session.send("GET", levels)[0] == 200:
            return
        for depth in range(1, len(levels) + 1):
            status, answer = self._session.send("POST", None, body={"namespace": list(levels[:depth]), "properties": {}})
            if status not in (200, 409):
                raise Unsupported(
                    f"catalog {self.name}: the namespace {identifier_text(levels)} cannot be created: {_words(answer)}"
                )


def _of(answer: Json, key: str) -> list[Any]:
    return list(answer.get(key) or [])


def _record(identifier: str, answer: Json) -> TableRecord:
    return record(identifier, str(answer["metadata-location"]), answer["metadata"])


def _words(answer: Json) -> str:
    """What the server says went wrong."""
    return str((answer.get("error") or {}).get("message") or "no reason given")[:300]
