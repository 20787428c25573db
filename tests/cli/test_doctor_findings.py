"""What the doctor says of stores that do not keep what they promise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from lakehouse.connect import open_store
from lakehouse.doctor import FOLDER, examine
from lakehouse.errors import Config, Transfer
from lakehouse.settings import Settings
from lakehouse.store import Buffer, ObjectInfo, Store, Traits


class Careless:
    """A real local store, made to break one promise."""

    def __init__(self, store: Store, fault: str = "") -> None:
        self._store, self._fault = store, fault

    @property
    def url(self) -> str:
        return self._store.url

    @property
    def traits(self) -> Traits:
        return replace(self._store.traits, conditional_get=self._fault != "promises little")

    def list(self, prefix: str = "", *, after: str | None = None, recursive: bool = True) -> Iterable[ObjectInfo]:
        if self._fault == "refuses credentials":
            raise Config("credentials refused")
        return self._store.list(prefix, after=after, recursive=recursive)

    def head(self, path: str) -> ObjectInfo:
        info = self._store.head(path)
        if self._fault == "wrong clock" and info.modified is not None:
            return replace(info, modified=info.modified - timedelta(minutes=10))
        return replace(info, modified=None) if self._fault == "no clock" else info

    def get(self, path: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> bytes:
        data = self._store.get(path, start=start, end=end)
        if if_match is not None and self._fault != "ignores if_match" and self._store.head(path).etag != if_match:
            raise Transfer(f"{path}: changed", transient=self._fault == "always busy")
        return data[:-1] if self._fault == "truncates" else data

    def put(self, path: str, data: Buffer | Iterable[Buffer], *, size: int, if_absent: bool = False) -> ObjectInfo:
        if self._fault == "read only":
            raise Config("not allowed to write")
        return self._store.put(path, data, size=size, if_absent=if_absent and self._fault != "ignores if_absent")

    def delete(self, path: str) -> None:
        if self._fault != "keeps what is deleted":
            self._store.delete(path)


def outcomes(folder: Path, fault: str) -> dict[str, bool | None]:
    (folder / "object").write_bytes(b"x" * 10)
    store: Store = Careless(open_store(str(folder), Settings()), fault)  # type: ignore[assignment]
    return {check.name: check.ok for check in examine(store, "place", write=True)}


def test_a_store_that_keeps_its_promises_is_well_and_nothing_is_left(tmp_path: Path) -> None:
    found = outcomes(tmp_path, "")
    assert all(found.values()), found
    assert set(found) == {"list", "read", "put", "clock", "conditional put", "conditional get", "delete"}
    assert not [path for path in (tmp_path / FOLDER).rglob("*") if path.is_file()]


def test_what_is_not_promised_is_not_asked_for(tmp_path: Path) -> None:
    assert "conditional get" not in outcomes(tmp_path, "promises little")


@pytest.mark.parametrize(
    ("fault", "check", "ok"),
    [
        ("refuses credentials", "list", False),
        ("truncates", "read", False),
        ("truncates", "put", False),
        ("read only", "put", False),
        ("ignores if_absent", "conditional put", False),
        ("ignores if_match", "conditional get", False),
        ("always busy", "conditional get", None),
        ("wrong clock", "clock", False),
        ("no clock", "clock", None),
        ("keeps what is deleted", "delete", False),
    ],
)
def test_a_broken_promise_is_found(tmp_path: Path, fault: str, check: str, ok: bool | None) -> None:
    assert outcomes(tmp_path, fault)[check] is ok
