"""A Feast repository in a folder of its own, over Arrow tables, on any store: the lake's in three formats, and Feast's own.

    world = made(folder, "delta", {"stats": table}, lambda source: [driver, FeatureView(..., source=source("stats"))])
    world.store.get_historical_features(...)

What a test defines never says which store it runs on: it takes its sources from the function that `made` hands it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from feast import FeatureStore
from feast.data_source import DataSource

if TYPE_CHECKING:
    from lakehouse.lake import Lake

Kind = Literal["parquet", "delta", "iceberg", "file", "duckdb"]
LAKE_KINDS: tuple[Kind, ...] = ("parquet", "delta", "iceberg")
SourceOf = Callable[..., DataSource]
Definitions = Callable[[SourceOf], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class World:
    """A repository that has been applied. ``kind``: the format of its datasets, or which of Feast's own stores it stands on."""

    folder: Path
    kind: Kind
    store: FeatureStore

    @property
    def lake(self) -> Lake:
        """The datasets, where the lake holds them."""
        from lakehouse.lake import Lake

        return Lake.from_config(self.folder / "lake.toml")

    def historical(self, entity_rows: Any, features: Any, **options: Any) -> pa.Table:
        """The rows that were asked for, with their features."""
        answer: pa.Table = self.store.get_historical_features(entity_df=entity_rows, features=features, **options).to_arrow()
        return answer


def source_of(folder: Path, kind: Kind) -> SourceOf:
    """What makes the source of a table by its name: ``source("stats", timestamp_field=…)``.

    The field ``event_timestamp`` is the time where no other is named; ``name`` may differ from the table's.
    """

    def made_source(table: str, *, name: str | None = None, **options: Any) -> DataSource:
        options = {"timestamp_field": "event_timestamp", **options}
        if kind in ("file", "duckdb"):
            from feast import FileSource

            return FileSource(name=name or table, path=str(folder / "data" / f"{table}.parquet"), **options)
        from lakehouse_connectors.feast import LakeSource

        return LakeSource(name=name or table, dataset=table, **options)

    return made_source


def made(
    folder: Path,
    kind: Kind,
    tables: Mapping[str, pa.Table],
    definitions: Definitions,
    *,
    online: Mapping[str, Any] | None = None,
    offline: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    partition_by: Sequence[str] = (),
) -> World:
    """The repository of ``definitions`` over ``tables`` in ``folder``, applied.

    ``online``: the section ``online_store`` of feature_store.yaml, SQLite where it is left out. ``offline``: more for
    ``offline_store``. ``settings``: more for the file itself. ``partition_by``: columns by whose values the files of the
    lake's tables are kept apart.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_tables(folder, kind, tables, partition_by)
    configured(folder, kind, online=online, offline=offline, settings=settings)
    store = FeatureStore(repo_path=str(folder))
    store.apply(list(definitions(source_of(folder, kind))))
    return World(folder, kind, store)


def configured(
    folder: Path,
    kind: Kind,
    *,
    online: Mapping[str, Any] | None = None,
    offline: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Put feature_store.yaml into ``folder``."""
    store: dict[str, Any] = {"type": kind}
    if kind not in ("file", "duckdb"):
        store = {"type": "lakehouse_connectors.feast.LakeOfflineStore", "lake_config": "lake.toml"}
    content = {
        "project": "tests",
        "provider": "local",
        "registry": {"path": str(folder / "registry.db")},
        "offline_store": {**store, **(offline or {})},
        "online_store": dict(online or {"type": "sqlite", "path": str(folder / "online.db")}),
        "entity_key_serialization_version": 3,
        "materialization": {"pull_latest_features": True},
        **(settings or {}),
    }
    (folder / "feature_store.yaml").write_text(json.dumps(content))  # which is YAML too


def write_tables(folder: Path, kind: Kind, tables: Mapping[str, pa.Table], partition_by: Sequence[str] = ()) -> None:
    """Put ``tables`` below ``folder``, in the format of ``kind``, with a lake.toml that names them where the lake holds them."""
    if kind in ("file", "duckdb"):
        (folder / "data").mkdir(exist_ok=True)
        for name, table in tables.items():
            pq.write_table(table, folder / "data" / f"{name}.parquet")
        return
    from lakehouse.lake import Lake

    lines = [f'[dataset.{name}]\ntable = "{folder / "data" / name}"\nformat = "{kind}"\n' for name in tables]
    (folder / "lake.toml").write_text("\n".join(lines))
    lake = Lake.from_config(folder / "lake.toml")
    for name, table in tables.items():
        dataset = lake.create_dataset(name, table.schema, partition_by=partition_by)
        if table.num_rows:
            dataset.append(table)
