"""The datasets go from place to place, and lake.toml follows when they have arrived and are proven."""

from __future__ import annotations

from pathlib import Path

from feature_repo.datasets import DATASETS
from feature_repo.places import S3, STAGED, Place, Stores, lake_toml
from lakehouse import Lake, SyncResult, fingerprint
from lakehouse.errors import Verification

__all__ = ["replicate_to_s3", "write_anew"]


def replicate_to_s3(folder: Path, stores: Stores) -> list[SyncResult]:
    """Write the datasets of ``folder``'s lake.toml as Delta, replicate these to S3, and point lake.toml there.

    Gives for each dataset what its sync proved. Raises `Verification`, and lake.toml is as it was, where rows differ.
    """
    staged = folder / "staged.toml"
    staged.write_text(lake_toml(stores, STAGED, replica=S3))
    _written_anew(folder / "lake.toml", staged)
    lake, done = Lake.from_config(staged), []
    for name in DATASETS:
        for replicated in lake[name].sync_replicas():
            if replicated.result is None:
                raise replicated.error or Verification(f"{name}: did not arrive at {replicated.to}")
            done.append(replicated.result)
    (folder / "lake.toml").write_text(lake_toml(stores, S3))
    return done


def write_anew(folder: Path, stores: Stores, place: Place) -> dict[str, int]:
    """Write the datasets of ``folder``'s lake.toml to ``place``, hold their rows against the old ones, and point lake.toml there.

    Gives the number of rows of each. Raises `Verification`, and lake.toml is as it was, where rows differ.
    """
    there = folder / "there.toml"
    there.write_text(lake_toml(stores, place))
    rows = _written_anew(folder / "lake.toml", there)
    there.replace(folder / "lake.toml")
    return rows


def _written_anew(here: Path, there: Path) -> dict[str, int]:
    source, target, rows = Lake.from_config(here), Lake.from_config(there), {}
    for name in DATASETS:
        scan = source[name].read()
        target.create_dataset(name, scan.schema).append(scan)
        old, new = (fingerprint(name, settings=lake.settings) for lake in (source, target))
        if old != new:
            raise Verification(f"{name}: the rows at {target[name].place} are not those at {source[name].place}")
        rows[name] = new.rows
    return rows
