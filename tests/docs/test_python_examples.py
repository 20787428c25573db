"""The examples of docs/python.md about rows run, on a table that is here."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("names", ["open_table", "lakehouse.sql"])
def test_an_example_of_reading_rows_runs(names: str, tmp_path: Path) -> None:
    for module in ("duckdb", "pandas", "polars"):
        pytest.importorskip(module)
    days = pa.array([19_700, 19_800, 19_800], pa.date32())
    rows = {"id": [1, 2, 3], "day": days, "total": [1.0, 2.0, 3.0], "status": ["paid", "sent", "open"]}
    (tmp_path / "orders").mkdir()
    pq.write_table(pa.table(rows), tmp_path / "orders" / "x.parquet")
    code = next(example for example in EXAMPLES if names in example)
    lines = [line for line in code.replace("s3://acme/orders", str(tmp_path / "orders")).splitlines() if "version=41" not in line]
    seen: dict[str, object] = {}
    exec("import lakehouse\n" + "\n".join(lines), seen)  # the page is ours
    if "scan" in seen:
        assert getattr(seen["scan"], "count_rows")() == 1  # noqa: B009
    else:
        assert getattr(seen["query"], "to_arrow")().num_rows == 2  # noqa: B009
