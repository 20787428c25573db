"""The contract of `lakehouse.catalog.Catalog` as tests, for every implementation.

A catalog's own test is a subclass with fixtures::

    class TestMyCatalog(CatalogSuite):
        @pytest.fixture
        def open_one(self):
            return lambda: open_catalog("mine", settings)          # at each call a client of its own, of one catalog

        @pytest.fixture
        def place(self):
            return open_store("s3://bucket/" + uuid4().hex)        # empty; the catalog can read what is put there
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest

from lakehouse.catalog import Catalog, TableRecord, identifier_text
from lakehouse.errors import Config, Conflict, NotFound, Unsupported
from lakehouse.store import Store

__all__ = ["ODD_NAMES", "CatalogSuite", "table_metadata"]

ODD_NAMES = ("with space", "v1.0", "caf\u00e9", "\u65e5\u672c", 'quote"d', "a%20b", "sl/ash", "plus+sign")
RACERS = 16


def table_metadata(location: str, snapshots: int, *, table_uuid: str | None = None, branch: str = "main") -> dict[str, Any]:
    """Iceberg metadata (format version 2) of a table with so many snapshots; their ids follow from number and ``branch``."""
    begin = int(time.time() * 1000)  # some catalogs refuse snapshots that are older than the table's last change
    seed = uuid.uuid5(uuid.NAMESPACE_URL, branch).int % 1_000_000 * 1_000
    made = [
        {
            "snapshot-id": seed + number,
            **({"parent-snapshot-id": seed + number - 1} if number > 1 else {}),
            "sequence-number": number,
            "timestamp-ms": begin + number,
            "manifest-list": f"{location}/metadata/snap-{seed + number}.avro",
            "summary": {"operation": "append"},
            "schema-id": 0,
        }
        for number in range(1, snapshots + 1)
    ]
    return {
        "format-version": 2,
        "table-uuid": table_uuid or str(uuid.uuid4()),
        "location": location,
        "last-sequence-number": snapshots,
        "last-updated-ms": begin + snapshots,
        "last-column-id": 1,
        "schemas": [{"type": "struct", "schema-id": 0, "fields": [{"id": 1, "name": "a", "required": False, "type": "long"}]}],
        "current-schema-id": 0,
        "partition-specs": [{"spec-id": 0, "fields": []}],
        "default-spec-id": 0,
        "last-partition-id": 999,
        "sort-orders": [{"order-id": 0, "fields": []}],
        "default-sort-order-id": 0,
        "properties": {"owner": "suite"},
        "current-snapshot-id": made[-1]["snapshot-id"] if made else -1,
        "refs": {"main": {"snapshot-id": made[-1]["snapshot-id"], "type": "branch"}} if made else {},
        "snapshots": made,
        "snapshot-log": [{"snapshot-id": one["snapshot-id"], "timestamp-ms": one["timestamp-ms"]} for one in made],
        "metadata-log": [],
    }


class CatalogSuite:
    """Subclass it, give it the fixtures ``open_one`` and ``place``, and where they apply the attributes and fixtures below."""

    refuses_odd_names: frozenset[str] = frozenset()
    """The names of `ODD_NAMES` that this catalog cannot hold, and refuses by name (`Unsupported`)."""
    levels: int = 3
    """How many levels a namespace may have; one more is refused (1), or not tried."""
    cannot_register: str | None = None
    """Why the server used for tests cannot register rightly, where it cannot. The subclass then overrides ``enter``."""
    loses_commits: str | None = None
    """Why the race cannot be run on the server used for tests, where it cannot."""

    @pytest.fixture
    def open_one(self) -> Callable[[], Catalog]:
        raise NotImplementedError("a subclass provides what opens the catalog")

    @pytest.fixture
    def place(self) -> Store:
        raise NotImplementedError("a subclass provides a store that the catalog can read")

    @pytest.fixture
    def lose_reply(self) -> Callable[[Catalog], AbstractContextManager[object]] | None:
        """While the context is open, the reply to the next write of that catalog is lost after the write was done."""
        return None

    @pytest.fixture
    def catalog(self, open_one: Callable[[], Catalog]) -> Catalog:
        return open_one()

    @pytest.fixture
    def namespace(self) -> str:
        return f"suite_{uuid.uuid4().hex[:12]}"

    def written(self, place: Store, metadata: dict[str, Any]) -> str:
        """Put a metadata file; its address."""
        data = json.dumps(metadata).encode()
        path = f"metadata/{metadata['last-sequence-number']:05d}-{uuid.uuid4()}.metadata.json"
        place.put(path, data, size=len(data))
        return f"{place.url}/{path}"

    def standing(self, place: Store, record: TableRecord) -> dict[str, Any]:
        """What stands at the record's metadata location."""
        assert record.metadata_location.startswith(place.url + "/")
        found: dict[str, Any] = json.loads(place.get(record.metadata_location.removeprefix(place.url + "/")))
        return found

    def _registered(self, catalog: Catalog, place: Store, identifier: str, snapshots: int) -> tuple[TableRecord, dict[str, Any]]:
        metadata = table_metadata(place.url, snapshots)
        return catalog.register(identifier, self.written(place, metadata)), metadata

    def enter(self, catalog: Catalog, place: Store, identifier: str, snapshots: int) -> tuple[TableRecord, dict[str, Any]]:
        """Make a table of the catalog that lies at ``place``: its record and its metadata."""
        return self._registered(catalog, place, identifier, snapshots)

    def longer(self, metadata: dict[str, Any], snapshots: int, branch: str = "main") -> dict[str, Any]:
        """The same table with a longer history, the new part of which is ``branch``'s own."""
        made = table_metadata(metadata["location"], snapshots, table_uuid=metadata["table-uuid"], branch=branch)
        kept = metadata["snapshots"]
        added = made["snapshots"][len(kept) :]
        if added and kept:
            added[0]["parent-snapshot-id"] = kept[-1]["snapshot-id"]
        changed = ("last-sequence-number", "last-updated-ms", "current-snapshot-id", "refs", "snapshot-log")
        return {**metadata, **{key: made[key] for key in changed}, "snapshots": [*kept, *added]}

    def _skip_unless_it_registers(self) -> None:
        if self.cannot_register is not None:
            pytest.skip(self.cannot_register)

    # Reading

    def test_what_is_not_there_is_none(self, catalog: Catalog, namespace: str) -> None:
        assert catalog.load(f"{namespace}.nothing") is None
        assert list(catalog.list(namespace)) == []

    @pytest.mark.parametrize("identifier", ["", "table", "a..b", 'a."b', "a.b."])
    def test_a_malformed_identifier_is_an_error_of_the_call(self, catalog: Catalog, identifier: str) -> None:
        with pytest.raises(Config):
            catalog.load(identifier)
        with pytest.raises(Config):
            catalog.register(identifier, "memory://nowhere/x.metadata.json")

    def test_a_table_that_is_there_is_loaded_and_listed(self, catalog: Catalog, place: Store, namespace: str) -> None:
        record, metadata = self.enter(catalog, place, f"{namespace}.t", 2)
        assert (record.identifier, record.location, record.uuid) == (f"{namespace}.t", place.url, metadata["table-uuid"])
        assert catalog.load(f"{namespace}.t") == record
        assert list(catalog.list(namespace)) == [f"{namespace}.t"]

    # Registering

    def test_a_registered_table_is_loaded_and_listed(self, catalog: Catalog, place: Store, namespace: str) -> None:
        self._skip_unless_it_registers()
        record, metadata = self._registered(catalog, place, f"{namespace}.t", 2)
        assert (record.identifier, record.location, record.uuid) == (f"{namespace}.t", place.url, metadata["table-uuid"])
        assert catalog.load(f"{namespace}.t") == record
        assert list(catalog.list(namespace)) == [f"{namespace}.t"]

    def test_registering_creates_the_namespace_and_leaves_one_that_is_there(
        self, catalog: Catalog, place: Store, namespace: str
    ) -> None:
        self._skip_unless_it_registers()
        self._registered(catalog, place, f"{namespace}.one", 1)
        self._registered(catalog, place, f"{namespace}.two", 1)
        assert sorted(catalog.list(namespace)) == [f"{namespace}.one", f"{namespace}.two"]

    def test_a_namespace_has_as_many_levels_as_the_catalog_allows(self, catalog: Catalog, place: Store, namespace: str) -> None:
        self._skip_unless_it_registers()
        deep = identifier_text([namespace, *(f"level{number}" for number in range(2, self.levels + 1))])
        self._registered(catalog, place, f"{deep}.t", 1)
        assert list(catalog.list(deep)) == [f"{deep}.t"]
        if self.levels == 1:
            with pytest.raises(Unsupported):
                catalog.load(f"{deep}.deeper.t")

    def test_a_table_that_is_there_is_not_registered_anew(self, catalog: Catalog, place: Store, namespace: str) -> None:
        self._skip_unless_it_registers()
        record, metadata = self._registered(catalog, place, f"{namespace}.t", 1)
        other = self.written(place, self.longer(metadata, 2))
        with pytest.raises(Conflict) as caught:
            catalog.register(f"{namespace}.t", other)
        assert record.metadata_location in str(caught.value)
        assert other in str(caught.value)
        assert catalog.load(f"{namespace}.t") == record

    def test_registering_the_same_once_more_is_success(self, catalog: Catalog, place: Store, namespace: str) -> None:
        self._skip_unless_it_registers()
        record, _ = self._registered(catalog, place, f"{namespace}.t", 1)
        assert catalog.register(f"{namespace}.t", record.metadata_location) == record

    def test_metadata_that_is_missing_is_not_registered(self, catalog: Catalog, place: Store, namespace: str) -> None:
        with pytest.raises((NotFound, Unsupported)):
            catalog.register(f"{namespace}.t", f"{place.url}/metadata/00000-{uuid.uuid4()}.metadata.json")
        assert catalog.load(f"{namespace}.t") is None

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_an_odd_name_stays_as_it_is_or_is_refused_by_name(
        self, catalog: Catalog, place: Store, namespace: str, name: str
    ) -> None:
        identifier = identifier_text([namespace, name])
        if name in self.refuses_odd_names:
            with pytest.raises(Unsupported):
                self._registered(catalog, place, identifier, 1)
            return
        record, metadata = self.enter(catalog, place, identifier, 1)
        assert record.identifier == identifier
        assert list(catalog.list(namespace)) == [identifier]
        longer = self.longer(metadata, 2)
        swapped = catalog.swap(identifier, record.metadata_location, self.written(place, longer), longer)
        assert catalog.load(identifier) == swapped

    # Swapping

    def test_a_swap_publishes_the_new_metadata(self, catalog: Catalog, place: Store, namespace: str) -> None:
        record, metadata = self.enter(catalog, place, f"{namespace}.t", 1)
        longer = self.longer(metadata, 4)
        written = self.written(place, longer)
        swapped = catalog.swap(f"{namespace}.t", record.metadata_location, written, longer)
        assert swapped.metadata_location != record.metadata_location
        assert catalog.swaps == "commit" or swapped.metadata_location == written
        assert catalog.load(f"{namespace}.t") == swapped
        found = self.standing(place, swapped)
        assert [one["snapshot-id"] for one in found["snapshots"]] == [one["snapshot-id"] for one in longer["snapshots"]]
        assert found["refs"] == longer["refs"]
        assert found["table-uuid"] == metadata["table-uuid"]

    def test_a_stale_swap_is_refused_and_a_concurrent_commit_is_never_erased(
        self, open_one: Callable[[], Catalog], place: Store, namespace: str
    ) -> None:
        """Trap Iceberg 14."""
        ours, theirs = open_one(), open_one()
        record, metadata = self.enter(ours, place, f"{namespace}.t", 1)
        other = self.longer(metadata, 2, branch="theirs")
        committed = theirs.swap(f"{namespace}.t", record.metadata_location, self.written(place, other), other)
        mine = self.longer(metadata, 3, branch="ours")
        with pytest.raises(Conflict) as caught:
            ours.swap(f"{namespace}.t", record.metadata_location, self.written(place, mine), mine)
        assert record.metadata_location in str(caught.value)
        assert committed.metadata_location in str(caught.value)
        assert ours.load(f"{namespace}.t") == committed
        assert self.standing(place, committed)["refs"] == other["refs"]

    def test_a_table_that_is_gone_is_a_conflict(self, catalog: Catalog, place: Store, namespace: str) -> None:
        metadata = table_metadata(place.url, 1)
        with pytest.raises(Conflict, match="gone"):
            catalog.swap(f"{namespace}.t", f"{place.url}/metadata/old.metadata.json", self.written(place, metadata), metadata)
        assert catalog.load(f"{namespace}.t") is None

    def test_a_swap_that_was_done_already_is_success(self, catalog: Catalog, place: Store, namespace: str) -> None:
        record, metadata = self.enter(catalog, place, f"{namespace}.t", 1)
        longer = self.longer(metadata, 2)
        written = self.written(place, longer)
        first = catalog.swap(f"{namespace}.t", record.metadata_location, written, longer)
        assert catalog.swap(f"{namespace}.t", record.metadata_location, written, longer) == first

    def test_of_sixteen_concurrent_swaps_exactly_one_wins(
        self, open_one: Callable[[], Catalog], place: Store, namespace: str
    ) -> None:
        if self.loses_commits is not None:
            pytest.skip(self.loses_commits)
        record, metadata = self.enter(open_one(), place, f"{namespace}.t", 1)
        wanted = [self.longer(metadata, 2, branch=f"writer {number}") for number in range(RACERS)]
        written = [self.written(place, one) for one in wanted]
        catalogs = [open_one() for _ in range(RACERS)]
        barrier = threading.Barrier(RACERS)

        def swap(number: int) -> TableRecord | None:
            barrier.wait()
            try:
                return catalogs[number].swap(f"{namespace}.t", record.metadata_location, written[number], wanted[number])
            except Conflict:
                return None

        with ThreadPoolExecutor(RACERS) as pool:
            outcomes = list(pool.map(swap, range(RACERS)))
        winners = [number for number, outcome in enumerate(outcomes) if outcome is not None]
        assert len(winners) == 1
        assert open_one().load(f"{namespace}.t") == outcomes[winners[0]]
        (winner,) = [outcome for outcome in outcomes if outcome is not None]
        assert self.standing(place, winner)["refs"] == wanted[winners[0]]["refs"]

    # Lost replies

    def test_a_lost_reply_to_a_registration_is_settled_by_reading_back(
        self,
        catalog: Catalog,
        place: Store,
        namespace: str,
        lose_reply: Callable[[Catalog], AbstractContextManager[object]] | None,
    ) -> None:
        self._skip_unless_it_registers()
        if lose_reply is None:
            pytest.skip("no way to lose a reply of this catalog")
        self._registered(catalog, place, f"{namespace}.other", 1)  # so that the next write is the table's, not the namespace's
        with lose_reply(catalog):
            record, _ = self._registered(catalog, place, f"{namespace}.t", 1)
        assert catalog.load(f"{namespace}.t") == record

    def test_a_lost_reply_to_a_swap_is_settled_by_reading_back(
        self,
        catalog: Catalog,
        place: Store,
        namespace: str,
        lose_reply: Callable[[Catalog], AbstractContextManager[object]] | None,
    ) -> None:
        if lose_reply is None:
            pytest.skip("no way to lose a reply of this catalog")
        record, metadata = self.enter(catalog, place, f"{namespace}.t", 1)
        longer = self.longer(metadata, 2)
        with lose_reply(catalog):
            swapped = catalog.swap(f"{namespace}.t", record.metadata_location, self.written(place, longer), longer)
        assert swapped != record
        assert catalog.load(f"{namespace}.t") == swapped
        assert self.standing(place, swapped)["refs"] == longer["refs"]
