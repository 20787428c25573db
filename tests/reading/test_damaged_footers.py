"""Trap: PyArrow's objects for column chunks end the process for some damaged footers, where an error was to be raised.

So what is damaged here is read by another process.
"""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pyarrow.parquet import encryption

from lakehouse.reading.rows import batches
from tests.reading.conftest import Files, named

READER = """
import sys
import pyarrow.compute as pc
from lakehouse import open_table
from lakehouse.errors import LakeError

for where in (None, pc.field("id") >= 250, pc.field("s") == "v3"):
    try:
        print("read", open_table(sys.argv[1], format="parquet").scan(None, where, workers=1).to_arrow().num_rows)
    except LakeError as error:
        print(type(error).__name__, str(error).splitlines()[0])
"""

FLIPPER = """
import random, sys
import pyarrow as pa
import pyarrow.compute as pc
from pathlib import Path
from lakehouse.errors import LakeError
from lakehouse.local_store import LocalStore
from lakehouse.reading.rows import batches
from lakehouse.reading.task import ReadField, ScanPlan, ScanTask
from lakehouse.url import parse

folder = Path(sys.argv[1])
data = (folder / "a.parquet").read_bytes()
start, end = len(data) - 8 - int.from_bytes(data[-8:-4], "little"), len(data) - 8
fields = (ReadField("id", pa.int64(), names=("id",)), ReadField("s", pa.string(), names=("s",)))
plan = ScanPlan(LocalStore(parse(str(folder))), fields, lambda _: [ScanTask("b.parquet", len(data), by="name")])
for bit in random.Random(7).sample(range(start * 8, end * 8), 1500):
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    (folder / "b.parquet").write_bytes(damaged)
    try:
        for _ in batches(plan, filter=(pc.field("id") >= 250) & (pc.field("s") == "v3"), workers=1):
            pass
    except LakeError as error:
        assert "b.parquet" in str(error), error
print("done")
"""

DAMAGES = {
    "a codec that there is not": (b"\x19\x18\x02id\x15\x02", b"\x19\x18\x02id\x15\x42"),
    "a histogram of too many levels": (b"\x29\x06\x19\x26\x00\xd8\x04", b"\x29\x26\x00\xd8\x04\x19\x06"),
    "a chunk of another type than its column": (b"\x1c\x15\x04\x19", b"\x1c\x15\x0c\x19"),
}


def file_bytes() -> bytes:
    table = pa.table({"id": pa.array(range(300), pa.int64()), "s": [f"v{at % 7}" for at in range(300)]})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


def run(script: str, folder: Path) -> list[str]:
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-2000:]}"
    return done.stdout.splitlines()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_footer_that_ends_the_process_in_arrow_is_an_error_that_names_the_file(tmp_path: Path, damage: str) -> None:
    whole, (before, after) = file_bytes(), DAMAGES[damage]
    assert before in whole
    (tmp_path / "a.parquet").write_bytes(whole.replace(before, after))
    for line in run(READER, tmp_path):
        assert line.startswith("NotFound ")
        assert "a.parquet is damaged" in line


def test_whatever_bit_of_a_footer_is_flipped_the_process_goes_on(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(file_bytes())
    assert run(FLIPPER, tmp_path) == ["done"]


class Keys(encryption.KmsClient):  # type: ignore[misc]
    """Keys that are wrapped by nothing."""

    def __init__(self, _: encryption.KmsConnectionConfig) -> None:
        encryption.KmsClient.__init__(self)

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        return base64.b64encode(key_bytes)

    def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
        return base64.b64decode(wrapped_key)


@pytest.mark.parametrize("plain", [True, False])
def test_an_encrypted_file_is_refused_whether_its_footer_is_encrypted_or_not(tmp_path: Path, *, plain: bool) -> None:
    chosen = encryption.EncryptionConfiguration(footer_key="f", column_keys={"c": ["s"]}, plaintext_footer=plain)
    properties = encryption.CryptoFactory(Keys).file_encryption_properties(encryption.KmsConnectionConfig(), chosen)
    table = pa.table({"id": range(300), "s": [f"v{at}" for at in range(300)]})
    with pq.ParquetWriter(tmp_path / "a.parquet", table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)
    for line in run(READER, tmp_path):
        assert line.startswith("Unsupported ")
        assert "a.parquet" in line


def test_row_groups_that_do_not_have_the_rows_that_the_footer_states_are_damage(tmp_path: Path) -> None:
    whole = file_bytes()
    at = whole.rindex(b"\x16\xd8\x04")  # num_rows of the row group
    (tmp_path / "a.parquet").write_bytes(whole[:at] + b"\x16\xd6\x04" + whole[at + 3 :])
    for line in run(READER, tmp_path):
        assert line.startswith("NotFound ")
        assert "do not have the 300 rows" in line


def test_statistics_of_every_type_leave_out_the_row_groups_that_they_did(files: Files) -> None:
    columns: dict[str, pa.Array] = {
        "i8": pa.array([-5, 5], pa.int8()),
        "i16": pa.array([-500, 500], pa.int16()),
        "i32": pa.array([-(10**9), 10**9], pa.int32()),
        "i64": pa.array([-(10**18), 10**18], pa.int64()),
        "f32": pa.array([-1.5, 1.5], pa.float32()),
        "f64": pa.array([-1.5, 1.5], pa.float64()),
        "b": pa.array([False, True]),
        "s": pa.array(["a", "é"]),
        "d": pa.array([-1, 1], pa.date32()),
        "t": pa.array([1, 2], pa.time64("us")),
        "ts": pa.array([-1, 1], pa.timestamp("ms")),
        "null": pa.array([None, 1], pa.int64()),
    }
    name = files.parquet("a.parquet", pa.table(columns), row_group_size=1)
    plan = files.plan(named(pa.table(columns).schema), [files.task(name)])
    whole = (files.folder / name).read_bytes()
    second = pq.ParquetFile(files.folder / name).metadata.row_group(1)
    for at, (column, values) in enumerate(columns.items()):
        chunk = second.column(at)
        start = chunk.dictionary_page_offset or chunk.data_page_offset
        (files.folder / name).write_bytes(whole[:start] + b"\xff" * 8 + whole[start + 8 :])  # of no use to whoever reads it
        matches = pc.field(column).is_null() if column == "null" else pc.field(column) <= values[0]
        assert [batch.num_rows for batch in batches(plan, columns=[column], filter=matches)] == [1]
