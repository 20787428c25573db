"""Which Delta tables a copy of log and files, byte for byte under the same relative paths, preserves whole.

PROTOCOL.md, "Table Features" and "Valid Feature Names in Table Features". A feature is carried only when it is on this list:
one that is not could keep state outside the table's folder, or name files in a way that this code does not know.
"""

from __future__ import annotations

from typing import Any

from lakehouse.errors import Unsupported

__all__ = ["CARRIED", "REFUSED", "check_protocol"]

CARRIED: dict[str, str] = {
    "allowColumnDefaults": "defaults are text in the schema",
    "appendOnly": "a table property",
    "changeDataFeed": "change files are named by cdc actions and carried with the rest",
    "checkConstraints": "constraints are table properties",
    "checkpointProtection": "a rule for log clean-up: the log is never cleaned here, and all its checkpoints come along",
    "clustering": "clustering columns are domain metadata",
    "collations": "collations are schema metadata and statistics",
    "collations-preview": "as collations",
    "columnMapping": "physical names are in the schema; paths and partition values stay as they are",
    "deletionVectors": "vectors lie in the log or are named relative to the table; absolute paths become relative (see localise)",
    "domainMetadata": "actions in the log",
    "generatedColumns": "expressions in the schema",
    "geospatial": "a type in the schema and in Parquet",
    "geospatial-preview": "as geospatial",
    "icebergCompatV1": "rules for data files; UniForm's own Iceberg metadata below the table is left behind",
    "icebergCompatV2": "as icebergCompatV1",
    "icebergCompatV3": "as icebergCompatV1",
    "icebergWriterCompatV1": "as icebergCompatV1",
    "icebergWriterCompatV3": "as icebergCompatV1",
    "identityColumns": "high-water marks are in the schema",
    "inCommitTimestamp": "timestamps are in commitInfo",
    "inCommitTimestamp-preview": "as inCommitTimestamp",
    "invariants": "expressions in the schema",
    "materializePartitionColumns": "a rule for data files",
    "rowTracking": "row ids are in the actions, the high-water mark is domain metadata",
    "timestampNtz": "a type in the schema",
    "typeWidening": "type changes are in the schema",
    "typeWidening-preview": "as typeWidening",
    "v2Checkpoint": "checkpoints name their sidecars relative to the log; they are carried as they are",
    "vacuumProtocolCheck": "a rule for VACUUM",
    "variantShredding": "a layout of data files",
    "variantShredding-preview": "as variantShredding",
    "variantType": "a type in the schema",
    "variantType-preview": "as variantType",
}

REFUSED: dict[str, str] = {
    "catalogManaged": "its newest commits are held by a catalog, not by _delta_log/",
    "catalogOwned": "its newest commits are held by a catalog, not by _delta_log/",
    "catalogOwned-preview": "its newest commits are held by a catalog, not by _delta_log/",
    "coordinatedCommits": "its newest commits are held by a coordinator, not by _delta_log/",
    "coordinatedCommits-preview": "its newest commits are held by a coordinator, not by _delta_log/",
    "managedCommit-preview": "its newest commits are held by a coordinator, not by _delta_log/",
    "redirectReaderWriter": "it sends readers to another place",
    "redirectReaderWriter-preview": "it sends readers to another place",
    "redirectWriterOnly": "it sends writers to another place",
    "redirectWriterOnly-preview": "it sends writers to another place",
}

_NEWEST_READER, _NEWEST_WRITER = 3, 7


def check_protocol(url: str, protocol: dict[str, Any]) -> None:
    """Raise `Unsupported`, naming every feature of a ``protocol`` action that is not carried (and each reason known)."""
    reader, writer = int(protocol.get("minReaderVersion") or 1), int(protocol.get("minWriterVersion") or 1)
    if reader > _NEWEST_READER or writer > _NEWEST_WRITER:
        raise Unsupported(
            f"{url}: needs Delta reader version {reader} and writer version {writer}; "
            f"carried are tables up to {_NEWEST_READER} and {_NEWEST_WRITER}"
        )
    features = sorted({*(protocol.get("readerFeatures") or ()), *(protocol.get("writerFeatures") or ())} - CARRIED.keys())
    if features:
        named = "; ".join(f"{name} ({REFUSED.get(name, 'not known to this version of lake')})" for name in features)
        raise Unsupported(f"{url}: uses Delta table features that cannot be carried: {named}")
