"""``lake sync``: replicate one table."""

from __future__ import annotations

from typing import Annotated, Any

import typer

import lakehouse
from lakehouse_cli import output
from lakehouse_cli.options import (
    LEVEL_HELP,
    BandwidthOption,
    ExternalOption,
    FormatOption,
    Level,
    MapOption,
    MemoryOption,
    Session,
    VersionOption,
    VersionsOption,
    WorkersOption,
    command,
    maps,
)

__all__ = ["register"]

_SIGNS = {"copy": "-", "compare": "*", "replace": "*"}

Source = Annotated[
    str, typer.Argument(metavar="SOURCE", help="Where the table is: a URL, a path, NAME:path or a dataset of lake.toml.")
]
Target = Annotated[str, typer.Argument(metavar="TARGET", help="Where it is to stand as well.")]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be done and write nothing.")]
Checksum = Annotated[bool, typer.Option("--checksum", help="Hash what is kept, too.")]
Delete = Annotated[bool, typer.Option("--delete", help="Plain Parquet only: remove from TARGET what SOURCE no longer has.")]
InPlace = Annotated[
    bool, typer.Option("--in-place", help="Plain Parquet only: overwrite files that changed under the same name.")
]
Location = Annotated[
    str | None, typer.Option("--location", metavar="URL", help="Iceberg: the address of TARGET that its metadata is to state.")
]
History = Annotated[
    str, typer.Option("--history", metavar="all|none|since:V", help="Delta: which older versions' files are carried.")
]
SkipBroken = Annotated[
    bool, typer.Option("--skip-broken-history", help="Iceberg: leave out older snapshots that can no longer be read.")
]
Register = Annotated[
    str | None,
    typer.Option("--register", metavar="CATALOG:IDENT", help="Iceberg: enter TARGET in a catalog once it is published."),
]
Retries = Annotated[int | None, typer.Option("--retries", min=0, max=100, help="Attempts after a failed request.")]


def sync(
    session: Session,
    source: Source,
    target: Target,
    table_format: FormatOption = None,
    version: VersionOption = None,
    level: Annotated[Level, typer.Option("--level", help=LEVEL_HELP)] = "bytes",
    dry_run: DryRun = False,
    checksum: Checksum = False,
    delete: Delete = False,
    in_place: InPlace = False,
    map_: MapOption = None,
    allow_external: ExternalOption = None,
    location: Location = None,
    history: History = "all",
    skip_broken_history: SkipBroken = False,
    register_: Register = None,
    versions: VersionsOption = "latest",
    workers: WorkersOption = 16,
    memory: MemoryOption = "256M",
    bwlimit: BandwidthOption = "off",
    retries: Retries = None,
) -> int:
    """Make the table at SOURCE also stand at TARGET, with its history, and prove that it does.

    Readers of TARGET see the old version or the new one, never a half. What is there and unchanged is not sent again; an
    interrupted run is continued by running it again.
    """
    arguments: dict[str, Any] = {
        "format": table_format,
        "version": version,
        "level": level,
        "checksum": checksum,
        "delete": delete,
        "in_place": in_place,
        "maps": maps(map_),
        "allow_external": allow_external or (),
        "location": location,
        "history": history,
        "skip_broken_history": skip_broken_history,
        "register": register_,
        "versions": versions,
        "settings": session.settings,
    }
    if dry_run:
        return _dry_run(session, source, target, arguments)
    with output.progress(json=session.json, log_format=session.log_format, verbose=session.verbose) as progress:
        limits: dict[str, Any] = {"workers": workers, "memory": memory, "bwlimit": bwlimit, "retries": retries}
        result = lakehouse.sync(source, target, progress=progress, **limits, **arguments)
    _show(session, result)
    return 0


def _show(session: Session, result: lakehouse.SyncResult) -> None:
    if session.json:
        from lakehouse_cli.schemas import SyncDocument

        output.document(SyncDocument.of(result))
        return
    if result.unchanged:
        output.line(f"unchanged: {result.target} stands at {result.format} version {result.version}, proven to {result.proof}")
    else:
        output.line(f"{result.format} version {result.version} stands at {result.target}, proven to {result.proof}")
        for done, counts in (("copied", result.copied), ("kept", result.kept), ("rewritten", result.rewritten)):
            if counts.files or done == "copied":
                output.line(f"  {done:<9} {counts.files} objects, {output.size_text(counts.bytes)}")
        output.line(f"  {'took':<9} {result.seconds:.1f} seconds")
    output.line(f"  {'receipt':<9} {result.receipt}")
    output.line(f"  {'sha256':<9} {result.receipt_sha256}")
    for finding in result.findings:
        output.line(f"  {'note':<9} {finding.message}")


def _dry_run(session: Session, source: str, target: str, arguments: dict[str, Any]) -> int:
    plan = lakehouse.plan(source, target, **arguments)
    if session.json:
        from lakehouse_cli.schemas import PlanDocument

        output.document(
            PlanDocument.of(
                plan,
                version=plan.version.id,
                source=source,
                target=target,
                to_copy=plan.copy,
                to_keep=plan.keep,
                to_rewrite=plan.rewrite,
                history=plan.history,
            )
        )
        return 0
    for copy in plan.copies():
        output.line(f"{_SIGNS[copy.action]} {copy.path}")
    for path in plan.deletions:
        output.line(f"+ {path}")
    output.line(f"{plan.format} version {plan.version.id}; dry run: nothing was written")
    output.line(f"  {'to copy':<9} {plan.copy.files} objects, {output.size_text(plan.copy.bytes)}")
    if plan.history.files:
        output.line(
            f"  {'history':<9} {plan.history.files} of them, {output.size_text(plan.history.bytes)}, for older versions only"
        )
    output.line(f"  {'to keep':<9} {plan.keep.files} objects, {output.size_text(plan.keep.bytes)}")
    if plan.rewrite.files:
        output.line(f"  {'rewrite':<9} {plan.rewrite.files} objects, {output.size_text(plan.rewrite.bytes)}")
    output.line(f"  {'read back':<9} {output.size_text(plan.read_back_bytes)}")
    return 0


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "sync", example="lake sync s3://acme/orders gs://acme-eu/orders")(sync)
