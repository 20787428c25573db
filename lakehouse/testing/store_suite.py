"""The contract of `lakehouse.store.Store` as tests, for every implementation.

A connector's own test is a subclass with a fixture::

    class TestMyStore(StoreSuite):
        @pytest.fixture
        def store(self):
            return open_store("mine://bucket/" + uuid4().hex)     # empty at each test
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from lakehouse.errors import Config, Conflict, LakeError, NotFound, Transfer, Unsupported
from lakehouse.store import ObjectFile, ObjectInfo, Store
from lakehouse.testing.copy_suite import ODD_KEYS, CopySuite

__all__ = ["ODD_KEYS", "StoreSuite"]

MIB = 1 << 20
RANGES = (
    (0, None), (0, 4), (3, 7), (7, None), (9, 10), (0, 10), (5, 100), (0, 100), (4, 4), (7, 3), (10, None), (10, 12), (50, 60),
)  # fmt: skip
"""Of an object of ten bytes: inside, to its end and beyond, empty, and outside."""


class _SourceFailed(Exception):
    """What the data's own iterable raises."""


def _chunks(data: bytes, size: int = MIB) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def _pattern(size: int) -> bytes:
    """Bytes that differ from part to part."""
    block = bytes(range(251)) * 4177
    return (block * (size // len(block) + 1))[:size]


class StoreSuite(CopySuite):
    """Subclass it, give it a fixture ``store`` (empty at each test), and where they apply the attributes and fixtures below."""

    key_count = 2500
    """How many keys the listing test writes."""
    race_rounds = 3
    """How many 16-way races are run."""
    large_size = 25 * MIB
    """Bytes of what is large enough to be sent in parts."""

    @pytest.fixture
    def wrong_credentials(self) -> Store | None:
        """The same place with credentials that the server refuses, or None where there is no such thing."""
        return None

    @pytest.fixture
    def missing_bucket(self) -> Store | None:
        """A place in a bucket that does not exist, or None where there is no such thing."""
        return None

    # Writing whole

    def test_what_was_put_is_read_back(self, store: Store) -> None:
        info = store.put("a/b.bin", b"hello", size=5)
        assert (info.path, info.size) == ("a/b.bin", 5)
        assert store.get("a/b.bin") == b"hello"
        assert (store.head("a/b.bin").path, store.head("a/b.bin").size) == ("a/b.bin", 5)

    def test_put_replaces_and_the_etag_tells(self, store: Store) -> None:
        store.put("x", b"one", size=3)
        first = store.head("x").etag
        store.put("x", b"two", size=3)
        assert store.get("x") == b"two"
        assert store.head("x").etag != first or first is None

    def test_etags_of_put_head_and_list_agree(self, store: Store) -> None:
        put = store.put("x", b"one", size=3)
        (listed,) = store.list()
        assert store.head("x").etag == listed.etag
        assert put.etag in (None, listed.etag)

    def test_an_empty_object_is_an_object(self, store: Store) -> None:
        store.put("empty", b"", size=0)
        assert store.head("empty").size == 0
        assert store.get("empty") == b""
        assert [info.path for info in store.list()] == ["empty"]

    def test_an_empty_iterable_is_an_empty_object(self, store: Store) -> None:
        store.put("empty", iter(()), size=0)
        assert store.get("empty") == b""

    @pytest.mark.parametrize("kind", ["small", "large"])
    def test_an_iterable_is_stored_whole(self, store: Store, kind: str) -> None:
        data = _pattern(100_000 if kind == "small" else self.large_size)
        info = store.put("stream", _chunks(data), size=len(data))
        assert info.size == len(data)
        assert store.head("stream").size == len(data)
        middle = len(data) // 2
        assert store.get("stream", start=middle, end=middle + 1000) == data[middle : middle + 1000]
        assert store.get("stream") == data

    @pytest.mark.parametrize("kind", ["small", "large"])
    def test_a_source_that_fails_in_the_middle_leaves_nothing(self, store: Store, kind: str) -> None:
        data = _pattern(100_000 if kind == "small" else self.large_size)

        def failing() -> Iterator[bytes]:
            yield from _chunks(data[: len(data) * 3 // 4], 50_000)
            raise _SourceFailed("the disk is gone")

        with pytest.raises(_SourceFailed):
            store.put("broken", failing(), size=len(data))
        self._assert_absent(store, "broken")

    def test_a_source_that_fails_leaves_the_old_object(self, store: Store) -> None:
        store.put("kept", b"old", size=3)

        def failing() -> Iterator[bytes]:
            yield from _chunks(_pattern(self.large_size - MIB))
            raise _SourceFailed("the disk is gone")

        with pytest.raises(_SourceFailed):
            store.put("kept", failing(), size=self.large_size)
        assert store.get("kept") == b"old"

    def test_a_wrong_size_of_bytes_is_refused(self, store: Store) -> None:
        for given in (0, 99_999, 100_001):
            with pytest.raises(Transfer):
                store.put(f"wrong/{given}", _pattern(given), size=100_000)
            with pytest.raises(Transfer):
                store.put(f"wrong/{given}", _chunks(_pattern(given)), size=100_000)
            self._assert_absent(store, f"wrong/{given}")

    def test_a_wrong_size_of_a_large_iterable_is_refused(self, store: Store) -> None:
        for off_by in (-1, 1, MIB):
            with pytest.raises(Transfer):
                store.put(f"wrong/{off_by}", _chunks(_pattern(self.large_size + off_by)), size=self.large_size)
            self._assert_absent(store, f"wrong/{off_by}")

    def test_the_data_may_come_from_the_same_store(self, store: Store) -> None:
        data = _pattern(self.large_size)
        store.put("source", data, size=len(data))
        ranges = range(0, len(data), 8 * MIB)
        store.put("copy", (store.get("source", start=at, end=at + 8 * MIB) for at in ranges), size=len(data))
        assert store.get("copy") == data

    # Putting if absent

    def test_put_if_absent_writes_once(self, store: Store) -> None:
        assert store.put("once", b"first", size=5, if_absent=True).size == 5
        with pytest.raises(Conflict, match="once"):
            store.put("once", b"second", size=6, if_absent=True)
        assert store.get("once") == b"first"

    def test_put_if_absent_takes_bytes_only(self, store: Store) -> None:
        with pytest.raises((TypeError, Unsupported)):
            store.put("once", iter([b"x"]), size=1, if_absent=True)
        self._assert_absent(store, "once")

    def test_of_sixteen_writers_exactly_one_wins(self, store: Store) -> None:
        if not store.traits.conditional_put:
            pytest.skip("Traits.conditional_put is not promised")
        for number in range(self.race_rounds):
            path = f"race/{number}"
            barrier = threading.Barrier(16)

            def write(writer: int, path: str = path, barrier: threading.Barrier = barrier) -> bytes | None:
                data = b"writer %02d" % writer
                barrier.wait()
                try:
                    store.put(path, data, size=len(data), if_absent=True)
                except Conflict:
                    return None
                return data

            with ThreadPoolExecutor(16) as pool:
                winners = [data for data in pool.map(write, range(16)) if data is not None]
            assert len(winners) == 1
            assert store.get(path) == winners[0]

    def test_just_the_version_that_is_named_is_replaced(self, store: Store) -> None:
        overwrite = store.traits.replace
        if overwrite is None:
            pytest.skip("Traits.replace is not there")
        store.put("versions", b"first", size=5)
        first = store.head("versions").etag or ""
        assert overwrite("versions", b"second", etag=first).size == 6
        second = store.head("versions").etag or ""
        with pytest.raises(Conflict, match="versions"):
            overwrite("versions", b"lost", etag=first)
        assert store.get("versions") == b"second"
        store.delete("versions")
        with pytest.raises(Conflict, match="versions"):
            overwrite("versions", b"lost", etag=second)
        self._assert_absent(store, "versions")

    def test_of_sixteen_that_replace_one_version_exactly_one_wins(self, store: Store) -> None:
        overwrite = store.traits.replace
        if overwrite is None:
            pytest.skip("Traits.replace is not there")
        store.put("raced", b"before", size=6)
        etag, barrier = store.head("raced").etag or "", threading.Barrier(16)

        def write(writer: int) -> bytes | None:
            data = b"writer %02d" % writer
            barrier.wait()
            try:
                overwrite("raced", data, etag=etag)
            except Conflict:
                return None
            return data

        with ThreadPoolExecutor(16) as pool:
            winners = [data for data in pool.map(write, range(16)) if data is not None]
        assert len(winners) == 1
        assert store.get("raced") == winners[0]

    # Reading

    def test_ranges_are_those_of_python(self, store: Store) -> None:
        store.put("digits", b"0123456789", size=10)
        for start, end in RANGES:
            assert store.get("digits", start=start, end=end) == b"0123456789"[start:end], (start, end)

    def test_a_range_of_an_empty_object_is_empty(self, store: Store) -> None:
        store.put("empty", b"", size=0)
        assert store.get("empty", start=0, end=8) == b""

    def test_a_file_over_the_store_can_seek(self, store: Store) -> None:
        store.put("digits", b"0123456789", size=10)
        file = ObjectFile(store, "digits", 10)
        file.seek(-4, 2)
        assert (file.read(2), file.read(), file.read()) == (b"67", b"89", b"")

    def test_a_matching_etag_reads(self, store: Store) -> None:
        store.put("x", b"0123456789", size=10)
        etag = store.head("x").etag
        assert store.get("x", start=2, end=5, if_match=etag) == b"234"
        assert store.get("x", if_match=etag) == b"0123456789"

    def test_a_change_between_two_ranges_is_an_error(self, store: Store) -> None:
        if not store.traits.conditional_get:
            pytest.skip("Traits.conditional_get is not promised")
        store.put("x", b"0123456789", size=10)
        etag = store.head("x").etag
        assert etag is not None
        assert store.get("x", start=0, end=5, if_match=etag) == b"01234"
        store.put("x", b"abcdefghij", size=10)
        with pytest.raises(Transfer, match="changed"):
            store.get("x", start=5, end=10, if_match=etag)
        with pytest.raises(Transfer, match="changed"):
            store.get("x", if_match=etag)

    def test_what_is_missing_is_not_found(self, store: Store) -> None:
        store.put("there", b"x", size=1)
        calls: tuple[Callable[[], object], ...] = (
            lambda: store.head("missing"),
            lambda: store.get("missing"),
            lambda: store.get("missing", start=1, end=2),
            lambda: store.head("there/below"),
            lambda: store.get("the"),
        )
        for call in calls:
            with pytest.raises(NotFound):
                call()

    def test_a_folder_is_no_object(self, store: Store) -> None:
        store.put("folder/x", b"x", size=1)
        with pytest.raises(NotFound):
            store.head("folder")
        with pytest.raises(NotFound):
            store.get("folder")

    # Names

    def test_odd_keys_stay_as_they_are(self, store: Store) -> None:
        for key in ODD_KEYS:
            if key in self.mangled_by_double:
                continue
            try:
                store.put(key, key.encode(), size=len(key.encode()))
            except Unsupported:
                assert key in self.refuses_odd_keys
                continue
            assert store.get(key) == key.encode()
            assert store.head(key).path == key
            assert [info.path for info in store.list()] == [key]
            folder = key.rpartition("/")[0]
            assert [info.path for info in store.list(folder)] == [key]
            store.delete(key)
            self._assert_absent(store, key)

    def test_keys_that_look_alike_are_different(self, store: Store) -> None:
        alike = ("a b", "a%20b", "a+b", "caf\u00e9", "cafe\u0301", "A b")
        for key in alike:
            store.put(key, key.encode(), size=len(key.encode()))
        assert sorted(info.path for info in store.list()) == sorted(alike)
        assert [store.get(key) for key in alike] == [key.encode() for key in alike]

    def test_keys_that_would_be_changed_are_refused_or_kept(self, store: Store) -> None:
        kept = list[str]()
        for number, key in enumerate(("a//b", "/a", "a/", "a/../b", "./a", "")):
            data = b"%d" % number
            try:
                store.put(key, data, size=1)
            except Unsupported:
                assert sorted(info.path for info in store.list()) == sorted(kept), key
                continue
            kept.append(key)
            assert sorted(info.path for info in store.list()) == sorted(kept)
            assert store.get(key) == data, key

    # Listing

    def test_a_listing_is_complete_and_never_from_a_cache(self, store: Store) -> None:
        names = [f"part={number % 7}/file-{number:05d}" for number in range(self.key_count)]
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda name: store.put(name, b"x", size=1), names))
        assert sorted(info.path for info in store.list()) == sorted(names)
        store.put("part=3/new", b"xy", size=2)
        assert next(info for info in store.list("part=3") if info.path == "part=3/new").size == 2
        store.delete("part=3/new")
        assert "part=3/new" not in {info.path for info in store.list("part=3")}
        middle = sorted(names)[self.key_count // 2]
        assert sorted(info.path for info in store.list(after=middle)) == [name for name in sorted(names) if name > middle]
        assert {info.path for info in store.list(recursive=False)} == {f"part={number}/" for number in range(7)}

    def test_a_prefix_ends_at_a_segment(self, store: Store) -> None:
        for path in ("a/x", "a/b/y", "ab/z", "a.txt"):
            store.put(path, b"1", size=1)
        assert sorted(info.path for info in store.list("a")) == ["a/b/y", "a/x"]
        assert sorted(info.path for info in store.list("a", recursive=False)) == ["a/b/", "a/x"]
        assert sorted(info.path for info in store.list(recursive=False)) == ["a.txt", "a/", "ab/"]
        assert [info.path for info in store.list("a", after="a/b/y")] == ["a/x"]
        assert list(store.list("nothing")) == []
        assert list(store.list("a/x/below")) == []

    def test_an_empty_place_lists_nothing(self, store: Store) -> None:
        assert list(store.list()) == []
        assert list(store.list(recursive=False)) == []

    def test_a_listing_states_sizes_and_times(self, store: Store) -> None:
        store.put("x", b"12345", size=5)
        (info,) = store.list()
        assert isinstance(info, ObjectInfo)
        assert info.size == 5
        assert info.modified is None or info.modified.tzinfo is not None

    # Deleting

    def test_delete_removes_and_forgives(self, store: Store) -> None:
        store.put("x", b"1", size=1)
        store.delete("x")
        store.delete("x")
        store.delete("never/was")
        self._assert_absent(store, "x")

    # Refusals

    def test_wrong_credentials_are_a_configuration_error(self, wrong_credentials: Store | None) -> None:
        if wrong_credentials is None:
            pytest.skip("this store has no credentials, or its double accepts any")
        bad = wrong_credentials
        calls: tuple[Callable[[], object], ...] = (
            lambda: bad.head("x"),
            lambda: bad.get("x"),
            lambda: list(bad.list()),
            lambda: bad.put("x", b"1", size=1),
            lambda: bad.put("x", b"1", size=1, if_absent=True),
        )
        for call in calls:
            with pytest.raises(Config) as caught:
                call()
            assert bad.url in str(caught.value)
            self._assert_no_secret("".join(traceback.format_exception(caught.value)))
        self._assert_no_secret(repr(bad))

    def test_a_missing_bucket_is_a_configuration_error(self, missing_bucket: Store | None) -> None:
        if missing_bucket is None:
            pytest.skip("this store has no buckets")
        for call in (lambda: missing_bucket.head("x"), lambda: missing_bucket.get("x"), lambda: list(missing_bucket.list())):
            with pytest.raises(Config, match="bucket"):
                call()

    def test_messages_name_the_place_and_hold_no_secret(self, store: Store) -> None:
        store.put("there", b"x", size=1)
        calls: tuple[Callable[[], object], ...] = (
            lambda: store.head("missing"),
            lambda: store.get("missing"),
            lambda: store.put("there", b"y", size=1, if_absent=True),
            lambda: store.put("there", b"y", size=2),
        )
        for call in calls:
            with pytest.raises(LakeError) as caught:
                call()
            assert store.url in str(caught.value)
            self._assert_no_secret("".join(traceback.format_exception(caught.value)))
        self._assert_no_secret(f"{store!r} {store.url} {store.traits!r}")
