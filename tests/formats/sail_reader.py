"""Reads versions of Delta tables with Sail, which shares no code with the Delta kernel or Spark. Runs in Sail's environment.

Standard input: one JSON line {"table": path, "version": number}. Standard output: one JSON line each: {"rows": how many,
"sha256": of their sorted texts}, or {"error": text}.
"""

# mypy: disable-error-code="import-not-found"
# pyright: reportMissingImports=false
from __future__ import annotations

import hashlib
import json
import sys
from typing import Any


def main() -> None:
    from pysail.spark import SparkConnectServer
    from pyspark.sql import SparkSession

    server = SparkConnectServer(ip="127.0.0.1", port=0)
    server.start(background=True)
    _, port = server.listening_address
    spark = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").getOrCreate()
    for line in sys.stdin:
        asked = json.loads(line)
        sys.stdout.write(json.dumps(read(spark, asked["table"], asked["version"])) + "\n")
        sys.stdout.flush()
    spark.stop()
    server.stop()


def read(spark: Any, table: str, version: int) -> dict[str, object]:
    import pyarrow as pa
    from pyspark.errors import PySparkException

    try:
        rows = spark.read.format("delta").option("versionAsOf", version).load(table).collect()
    except (PySparkException, pa.ArrowException, ValueError, TypeError, LookupError, ArithmeticError, AssertionError) as error:
        return {"error": str(error)[:500]}
    texts = sorted(repr(row.asDict(recursive=True)) for row in rows)
    return {"rows": len(texts), "sha256": hashlib.sha256("\n".join(texts).encode()).hexdigest()}


if __name__ == "__main__":
    main()
