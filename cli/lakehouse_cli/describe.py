"""``lake describe``: what a table is."""

from __future__ import annotations

from typing import Annotated

import typer

import lakehouse
from lakehouse_cli import output
from lakehouse_cli.options import FormatOption, Session, VersionOption, command

__all__ = ["register"]


def describe(
    session: Session,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="A URL, a path, NAME:path or a dataset of lake.toml.")],
    table_format: FormatOption = None,
    version: VersionOption = None,
) -> int:
    """Show a table's format, version, columns, partitions, files, sizes and the features that it uses."""
    description = lakehouse.describe(table, format=table_format, version=version, settings=session.settings)
    if session.json:
        from lakehouse_cli.schemas import DescribeDocument

        output.document(DescribeDocument.of(description))
        return 0
    facts: list[tuple[str, output.Cell]] = [
        ("format", description.format),
        ("version", description.version),
        ("table id", description.table_id),
        ("committed at", description.committed_at),
        ("partitioned by", ", ".join(description.partition_columns) or None),
        ("files", description.files),
        ("size", output.Size(description.size)),
        ("older files", description.history_files),
        ("older size", output.Size(description.history_size)),
        ("features", ", ".join(description.features) or None),
        *((f"property {name}", value) for name, value in description.properties.items()),
    ]
    output.table(("FACT", "VALUE"), facts)
    output.table(("COLUMN", "TYPE", "NULLABLE"), [(column.name, column.type, column.nullable) for column in description.columns])
    return 0


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "describe", example="lake describe s3://acme/orders")(describe)
