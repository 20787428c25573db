"""``lake prune`` on real servers, whose listings and heads must tell of an object in the same way."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clouds.conftest import Lake
from tests.formats.iceberg.iceberg_tables import changing_table
from tests.sync.places import contents


@pytest.mark.parametrize("target", ["s3", "azure", "google"])
def test_what_a_source_expired_goes_and_the_replica_is_proven_and_unchanged(
    lake: Lake, key: str, target: str, tmp_path: Path
) -> None:
    place = f"{target}:{key}/t"
    with changing_table(tmp_path / "source") as source:
        for rows in (0, 10):
            source.append(rows)
            source.compact()
            source.expire()
            lake("sync", str(source.folder), place)
        before = contents(lake.store(place))
        done = lake("prune", place, "--older-than", "0", "--yes")
        gone = before.keys() - contents(lake.store(place)).keys()
        assert done["objects"]["files"] == len(gone) > 3
        assert {one["path"] for one in done["paths"]} == gone
        assert lake("verify", place, "--against", str(source.folder))["ok"]
        assert lake("sync", str(source.folder), place)["unchanged"]
