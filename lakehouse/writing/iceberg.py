"""Writing Iceberg tables: pyiceberg encodes manifests, the data files and the commit are ours.

A commit is a new metadata file that follows the newest: put if nothing is there (`lakehouse.storage_catalog`), or swapped in a
catalog. When another writer was faster, manifests are made anew on top of what it left, with the same data files: no data is
written twice and no append is lost. What the metadata says besides stays as it is, unknown keys included.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakehouse.errors import Config, Conflict, LakeError, Transfer, Unsupported
from lakehouse.locations import canonical
from lakehouse.origin import PLACE, SourceVersion
from lakehouse.writing.attempts import attempts
from lakehouse.writing.iceberg_append import newest_snapshot
from lakehouse.writing.iceberg_places import ByPath, IcebergTable, InCatalog, Place, written_to
from lakehouse.writing.rows import in_portions
from lakehouse.writing.schemas import iceberg_schema
from lakehouse.writing.turns import turn_at

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table, Transaction
    from pyiceberg.table.metadata import TableMetadata

    from lakehouse.writing.iceberg_files import StoreFiles

__all__ = ["ByPath", "IcebergTable", "InCatalog", "append", "create", "overwrite"]

_NEWEST_FORMAT = 2
_PORTION_BYTES = 128 << 20
_CHANGED = (
    *("last-sequence-number", "last-updated-ms", "current-snapshot-id", "refs", "snapshot-log", "metadata-log"),
    "snapshots",
)
"""The keys of a metadata file that appending and overwriting change."""


@dataclass(frozen=True, slots=True)
class _Left:
    """What a writer knows of a table when it has committed: its state, and the content of its newest manifest list."""

    table: IcebergTable
    manifest_list: bytes


def create(place: Place, schema: pa.Schema, partition_by: Sequence[str] = ()) -> None:
    """Make an empty table of format version 2 with ``schema``, partitioned by the values of columns.

    Raises `Conflict` where a table is there, `Config` for a column that is none, `Unsupported` for a type that Iceberg lacks.
    """
    from pyiceberg.io.pyarrow import visit_pyarrow, _ConvertToIcebergWithoutIDs  # fmt: skip # noqa: I001
    from pyiceberg.partitioning import PartitionField, PartitionSpec
    from pyiceberg.schema import assign_fresh_schema_ids
    from pyiceberg.table.metadata import new_table_metadata
    from pyiceberg.table.sorting import UNSORTED_SORT_ORDER
    from pyiceberg.transforms import IdentityTransform

    if place.exists():
        raise Conflict(f"{place}: there is a table already; nothing was changed")
    stated = iceberg_schema(schema, str(place))
    with _translated(str(place)):
        made = assign_fresh_schema_ids(visit_pyarrow(stated, _ConvertToIcebergWithoutIDs()))
    fields = []
    for number, name in enumerate(partition_by):
        if name not in stated.names:
            raise Config(f"{place}: partition_by names {name!r}, which is no column")
        fields.append(PartitionField(made.find_field(name).field_id, 1000 + number, IdentityTransform(), name))
    with _translated(str(place)):
        metadata = new_table_metadata(
            schema=made, partition_spec=PartitionSpec(*fields), sort_order=UNSORTED_SORT_ORDER, location=place.store.url,
            properties={"format-version": str(_NEWEST_FORMAT)},
        )  # fmt: skip
    place.create(_as_json(metadata))


def append(place: Place, rows: Callable[[pa.Schema], pa.RecordBatchReader], source: SourceVersion | None = None) -> None:
    """Add the rows that ``rows`` gives for the table's schema, in one commit; no rows make none. ``source``: the version of
    another table that they are; the snapshot says so where this one holds no rows yet.

    Raises `Conflict` where the table's schema or partitioning was changed meanwhile or ten minutes of tries were lost,
    `Unsupported` for a table that cannot be written rightly, `Transfer` where it is not known whether the commit arrived.
    """
    _Writer(place, source).write(rows, replace=False)


def overwrite(place: Place, rows: Callable[[pa.Schema], pa.RecordBatchReader], source: SourceVersion | None = None) -> None:
    """Put the rows in the place of all that the table holds when the commit is made. Older snapshots stay. ``source``: the
    version of another table that they are, which the snapshot says. Raises as `append`.
    """
    _Writer(place, source).write(rows, replace=True)


class _Writer:
    """One write to one table, of the rows of ``source`` where they are a version of another."""

    def __init__(self, stated: Place, source: SourceVersion | None) -> None:
        from lakehouse.writing.iceberg_files import StoreFiles

        place = written_to(stated)
        self.turn, self.source = turn_at(place.store.url, _Left), source
        left = self.turn.left
        self.place, self.base = place, place.newest(left.table if left is not None else None)
        self.snapshot: int | None = None
        self.in_doubt = False  # whether a commit was sent that may have arrived
        _refuse_unfit(place, self.base)
        self.files: StoreFiles = StoreFiles(place.store, self.base.location)
        with _translated(str(place)):
            self.definition: TableMetadata = _definition(self.base.metadata)
            self.schema: pa.Schema = self.definition.schema().as_arrow()

    def write(self, rows: Callable[[pa.Schema], pa.RecordBatchReader], *, replace: bool) -> None:
        """Data files first, then the commit, again and again until it is made. What is known to be in vain is removed."""
        try:
            made = self._data_files(rows(self.schema))
            if made or replace:
                stage = self._replacing(made) if replace else self._appending(made)
                with self.turn:
                    self._commit(stage)
        except BaseException as error:
            if not self.in_doubt or isinstance(error, Conflict):
                self._remove(self.files.written)
            raise

    def _data_files(self, rows: pa.RecordBatchReader) -> list[DataFile]:
        from lakehouse.writing.iceberg_data import DataFiles

        with _translated(str(self.place)):
            writer = DataFiles(self.definition, self.files)
        made = list[Any]()
        for portion in in_portions(rows, _PORTION_BYTES):
            with _translated(str(self.place)):
                made += writer.of(portion)
        return made

    def _commit(self, stage: Callable[[], None]) -> None:
        """Try until it is done. It is done in this process's turn."""
        left = self.turn.left
        self._go_on_from(self.place.newest(left.table if left is not None else self.base))
        for last in attempts():
            before = len(self.files.written)
            try:
                with _translated(str(self.place)):
                    stage()
                return
            except (Conflict, Transfer) as error:
                found = self.place.newest(self.base)
                if self.snapshot is not None and found.has_snapshot(self.snapshot):
                    return  # it was done, and its reply was lost
                if last or isinstance(error, Transfer):
                    raise
            self._remove(self.files.written[before:])
            del self.files.written[before:]
            self._go_on_from(found)

    def _appending(self, data_files: list[DataFile]) -> Callable[[], None]:
        """One try to append: the list, and the commit. The manifest is there already."""
        from lakehouse.writing.iceberg_append import Appending

        with _translated(str(self.place)):
            append = Appending(self.definition, self.files, data_files)

        def stage() -> None:
            left = self.turn.left
            known = left.manifest_list if left is not None and left.table is self.base else None
            source = self.source if _holds_nothing(self.base.metadata) else None
            made = append.on(_stating(self.base.metadata, source), known, {} if source is None else source.recorded())
            self.snapshot, self.in_doubt = append.snapshot_id, True
            now = self.place.swap(self.base, made.metadata)
            self.turn.left = None if now is None else _Left(now, made.manifest_list)

        return stage

    def _replacing(self, data_files: list[DataFile]) -> Callable[[], None]:
        """One try to overwrite: manifests, the list, and the commit, by way of `_Committer`."""

        def stage() -> None:
            transaction = self._table(self.base).transaction()
            with _replacing(transaction, self.files, self.source) as snapshot:
                for file in data_files:
                    snapshot.append_data_file(file)
            self.snapshot, self.in_doubt, self.turn.left = snapshot.snapshot_id, True, None
            transaction.commit_transaction()

        return stage

    def _go_on_from(self, found: IcebergTable) -> None:
        """Take the state that another writer left, if our data files fit it still."""
        for key in ("table-uuid", "current-schema-id", "default-spec-id", "location", "format-version"):
            if found.metadata.get(key) != self.base.metadata.get(key):
                raise Conflict(
                    f"{self.place}: another writer changed the table's {key} meanwhile; nothing was written, run again"
                )
        self.base = found

    def _table(self, state: IcebergTable) -> Table:
        from pyiceberg.table import Table
        from pyiceberg.table.metadata import TableMetadataUtil

        metadata = TableMetadataUtil.parse_obj(state.metadata)
        return Table(("table",), metadata, state.address, self.files, _committer(self.place, state, self.source))

    def _remove(self, addresses: Sequence[str]) -> None:
        for address in addresses:
            with suppress(LakeError):  # what stays is named by nothing, and does no harm
                self.files.delete(address)


def _committer(place: Place, base: IcebergTable, source: SourceVersion | None) -> Any:
    """What pyiceberg takes for a catalog: it commits once, to ``place``."""
    from pyiceberg.catalog.noop import NoopCatalog
    from pyiceberg.table import CommitTableResponse
    from pyiceberg.table.update import update_table_metadata

    class Committer(NoopCatalog):
        def commit_table(self, table: Table, requirements: Any, updates: Any) -> CommitTableResponse:
            for requirement in requirements:
                requirement.validate(table.metadata)
            made = update_table_metadata(table.metadata, updates, metadata_location=table.metadata_location)
            place.swap(base, _stating(_edited(base.metadata, _as_json(made)), source))
            answer = {"metadata": made, "metadata-location": table.metadata_location}
            return CommitTableResponse.model_validate(answer)

        @staticmethod
        def _delete_old_metadata(io: Any, base: Any, metadata: Any) -> None:  # noqa: ARG004 - writing removes nothing
            return

    return Committer("place")


def _replacing(transaction: Transaction, files: StoreFiles, source: SourceVersion | None) -> Any:
    """The snapshot that removes every data file. Delete files stay: they are older than what is added, so they delete nothing."""
    from pyiceberg.manifest import ManifestContent, ManifestEntry, ManifestEntryStatus
    from pyiceberg.table.snapshots import Operation
    from pyiceberg.table.update.snapshot import _OverwriteFiles

    head = transaction.table_metadata.snapshot_by_name("main")
    manifests = head.manifests(files) if head is not None else []
    live = [
        entry
        for manifest in manifests
        if manifest.content == ManifestContent.DATA
        for entry in manifest.fetch_manifest_entry(files, discard_deleted=True)
    ]

    class Replacing(_OverwriteFiles):
        def _build_delete_files_partition_predicate(self) -> None:
            """Everything goes, whatever partition it is in."""

        def _existing_manifests(self) -> list[Any]:
            return [manifest for manifest in manifests if manifest.content == ManifestContent.DELETES]

        def _deleted_entries(self) -> list[Any]:
            return [
                ManifestEntry.from_args(
                    status=ManifestEntryStatus.DELETED, snapshot_id=self.snapshot_id, sequence_number=entry.sequence_number,
                    file_sequence_number=entry.file_sequence_number, data_file=entry.data_file,
                )
                for entry in live
            ]  # fmt: skip

    said = {} if source is None else source.recorded()
    made = Replacing(Operation.OVERWRITE, transaction, files, snapshot_properties=said)
    for entry in live:
        made.delete_data_file(entry.data_file)
    return made


def _refuse_unfit(place: Place, table: IcebergTable) -> None:
    """What pyiceberg would write wrongly, or where nothing of ours belongs."""
    metadata, where = table.metadata, str(place)
    if metadata.get("format-version") not in (1, _NEWEST_FORMAT):
        raise Unsupported(
            f"{where}: Iceberg format version {metadata.get('format-version')} is not written (row ids); up to 2 is"
        )
    if canonical(table.location) != canonical(place.store.url):
        raise Unsupported(
            f"{where}: says that it lies at {table.location}: write to it there, or other engines miss what is added"
        )
    properties = metadata.get("properties") or {}
    if properties.get("write.py-location-provider.impl"):
        raise Unsupported(f"{where}: its property write.py-location-provider.impl names code to run, which is not done")
    if str(properties.get("write.format.default", "parquet")).lower() != "parquet":
        raise Unsupported(
            f"{where}: its property write.format.default asks for {properties['write.format.default']}, not Parquet"
        )
    if any(key.startswith("encryption.") for key in properties) or metadata.get("encryption-keys"):
        raise Unsupported(f"{where}: the table is encrypted, so nothing is written to it")
    for key in ("write.data.path", "write.metadata.path"):
        stated = properties.get(key)
        if stated and not canonical(stated).startswith(f"{canonical(place.store.url)}/"):
            raise Unsupported(f"{where}: its property {key} asks for files outside the table ({stated}), which are not written")


def _holds_nothing(metadata: Mapping[str, Any]) -> bool:
    """Whether the table surely has no data file at the head of ``main``."""
    head = newest_snapshot(metadata)
    return head is None or (head.get("summary") or {}).get("total-data-files") == "0"


def _stating(metadata: dict[str, Any], source: SourceVersion | None) -> dict[str, Any]:
    """``metadata`` with the property that says that snapshots of it are made from versions of another table."""
    return metadata if source is None else {**metadata, "properties": {**(metadata.get("properties") or {}), PLACE: source.place}}


def _edited(base: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with what a commit changes; what pyiceberg does not know stays."""
    known = {raw.get("snapshot-id") for raw in base.get("snapshots") or ()}
    added = [raw for raw in made.get("snapshots") or () if raw.get("snapshot-id") not in known]
    changed = {key: made[key] for key in _CHANGED if key in made}
    refs = {**(base.get("refs") or {}), "main": made["refs"]["main"]} if "main" in (made.get("refs") or {}) else base.get("refs")
    kept = {**base, **changed, "snapshots": [*(base.get("snapshots") or ()), *added]}
    return {**kept, "refs": refs} if refs is not None else kept


def _definition(metadata: Mapping[str, Any]) -> TableMetadata:
    """The table's schema, partitioning and properties, without its history: pyiceberg takes long to read that."""
    from pyiceberg.table.metadata import TableMetadataUtil

    history: dict[str, Any] = {
        "snapshots": [],
        "snapshot-log": [],
        "metadata-log": [],
        "refs": {},
        "statistics": [],
        "partition-statistics": [],
    }
    return TableMetadataUtil.parse_obj({**metadata, **history, "current-snapshot-id": None})


def _as_json(metadata: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(metadata.model_dump_json())
    return found


@contextmanager
def _translated(where: str) -> Iterator[None]:
    """pyiceberg's refusals as ours."""
    from pyiceberg.exceptions import CommitFailedException, ValidationError, ValidationException

    try:
        yield
    except CommitFailedException as error:
        raise Conflict(f"{where}: {error}") from error
    except (
        NotImplementedError, ModuleNotFoundError, TypeError, ValueError, KeyError, ValidationError, ValidationException,
    ) as error:  # fmt: skip
        raise Unsupported(f"{where}: pyiceberg cannot write this table ({type(error).__name__}: {str(error)[:300]})") from error
