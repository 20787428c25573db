"""A store that also reads what lies elsewhere, and one in which damaged objects count as not there."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from lakehouse.config import Settings
from lakehouse.connect import open_at
from lakehouse.errors import Conflict, NotFound, Unsupported
from lakehouse.mending import Mending
from lakehouse.options import Options
from lakehouse.replica import open_source
from lakehouse.table import Written
from lakehouse.url import parse


def test_addresses_are_read_where_something_permits_and_nowhere_else(tmp_path: Path) -> None:
    for name in ("lake/t/x", "lake/other/y", "away/deep/z", "private/secret"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    options = Options(maps=(("s3://gone/deep", str(tmp_path / "away" / "deep")),), external=(f"file://{tmp_path}/away",))
    source, terms, version = open_source(str(tmp_path / "lake" / "t"), Settings(), options)
    assert version is None
    assert source.get("x") == b"lake/t/x"
    assert source.get(f"file://{tmp_path}/lake/other/y") == b"lake/other/y"
    mapped = terms.locations.place("s3a://gone/deep/z").read
    assert source.get(mapped) == b"away/deep/z"
    assert source.head(mapped).path == mapped
    assert [info.path for info in source.list()] == ["x"]
    with pytest.raises(Unsupported, match="nothing permits"):
        source.get(f"file://{tmp_path}/private/secret")


def test_a_damaged_object_is_overwritten_once_and_only_while_it_is_the_one_that_was_noted() -> None:
    store = open_at(parse(f"memory://{uuid.uuid4().hex}/t"), None)
    put = store.put("m.avro", b"broken", size=6)
    noted = Written("m.avro", 6, "", "damaged", target_etag=put.etag)
    mending = Mending(store, {"m.avro": noted})
    assert list(mending.list()) == []
    for look in (mending.head, mending.get):
        with pytest.raises(NotFound, match="damaged"):
            look("m.avro")
    mending.put("m.avro", b"whole!!", size=7, if_absent=True)
    assert mending.get("m.avro") == b"whole!!"
    with pytest.raises(Conflict):
        mending.put("m.avro", b"again", size=5, if_absent=True)
    with pytest.raises(Conflict, match="somebody else"):
        Mending(store, {"m.avro": noted}).put("m.avro", b"again", size=5, if_absent=True)
    assert store.get("m.avro") == b"whole!!"
