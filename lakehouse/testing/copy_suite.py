"""The contract of copies within a service (`lakehouse.store.ServerCopy`) as tests: `StoreSuite`'s part for optional powers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lakehouse.checksum import Checksum, sha256_hex
from lakehouse.errors import NotFound, Transfer
from lakehouse.store import ServerCopy, Store

__all__ = ["ODD_KEYS", "CopySuite"]

ODD_KEYS = (
    "with space.parquet",
    "p=a%20b/percent%.parquet",
    "plus+sign/a+b",
    "hash#mark",
    "question?mark=1&b=2",
    "equals=/day=2024-01-01/x",
    "caf\u00e9-nfc",
    "cafe\u0301-nfd",
    "\u65e5\u672c/\U0001f4a7",
    "quote'\"tick`",
    "brackets[0]{a}(b)",
    "star*tilde~dollar$",
    "back\\slash",
    "colon:semi;comma,at@pipe|",
    ".hidden/_under/...dots",
)


class CopySuite:
    """Skipped where a store does not declare ``copy`` or ``stated_sha256`` of its `Traits`."""

    refuses_odd_keys: frozenset[str] = frozenset()
    """The odd keys that this store may refuse by name (`Unsupported`)."""
    mangled_by_double: frozenset[str] = frozenset()
    """The odd keys that the server used for tests stores under another name, whatever the client sends."""
    secrets: tuple[str, ...] = ()
    """Texts that no message and no repr may hold."""

    @pytest.fixture
    def store(self) -> Store:
        raise NotImplementedError("a subclass provides the store")

    def test_a_service_is_named_where_copies_are_declared_and_holds_no_secret(self, store: Store) -> None:
        assert (store.traits.service is None) == (store.traits.copy is None)
        self._assert_no_secret(store.traits.service or "")

    def test_copies_are_the_same_objects_under_other_names(self, store: Store) -> None:
        copy = self._copy_of(store)
        for key in {*ODD_KEYS, "plain", "empty"} - self.mangled_by_double - self.refuses_odd_keys:
            data = b"" if key == "empty" else key.encode() * 100
            store.put(key, data, size=len(data))
            made = copy(store.url, store.head(key), f"copy/{key}")
            assert (made.path, made.size) == (f"copy/{key}", len(data))
            assert made.checksum in (None, Checksum("sha256", sha256_hex(data))), key
            assert store.get(f"copy/{key}", if_match=made.etag) == store.get(key) == data, key
            assert store.head(f"copy/{key}").etag == made.etag, key

    def test_a_copy_overwrites_where_it_is_told_to(self, store: Store) -> None:
        copy = self._copy_of(store)
        store.put("source", b"new", size=3)
        store.put("there", b"old", size=3)
        copy(store.url, store.head("source"), "there", if_absent=False)
        assert store.get("there") == b"new"

    def test_a_source_that_changed_is_not_copied(self, store: Store) -> None:
        copy = self._copy_of(store)
        store.put("source", b"old", size=3)
        info = store.head("source")
        store.put("source", b"new", size=3)
        with pytest.raises(Transfer, match="source: changed"):
            copy(store.url, info, "copy")
        self._assert_absent(store, "copy")

    def test_a_source_that_is_missing_is_not_found(self, store: Store) -> None:
        copy = self._copy_of(store)
        store.put("source", b"old", size=3)
        info = store.head("source")
        store.delete("source")
        for gone in (info, replace(info, etag=None)):
            with pytest.raises(NotFound, match="source"):
                copy(store.url, gone, "copy")
        self._assert_absent(store, "copy")

    def test_a_stated_sha256_is_the_right_one(self, store: Store) -> None:
        stated = store.traits.stated_sha256
        if stated is None:
            pytest.skip("Traits.stated_sha256 is not declared")
        store.put("x", b"old", size=3)
        info = store.head("x")
        assert stated(info) in (None, sha256_hex(b"old"))
        store.put("x", b"new", size=3)
        with pytest.raises(Transfer, match="changed"):
            stated(info)
        store.delete("x")
        with pytest.raises(NotFound):
            stated(info)

    def _copy_of(self, store: Store) -> ServerCopy:
        if store.traits.copy is None:
            pytest.skip("Traits.copy is not declared")
        return store.traits.copy

    def _assert_no_secret(self, text: str) -> None:
        assert not [secret for secret in self.secrets if secret in text]

    def _assert_absent(self, store: Store, path: str) -> None:
        with pytest.raises(NotFound):
            store.head(path)
        assert path not in {info.path for info in store.list()}
