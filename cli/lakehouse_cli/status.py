"""``lake status``: how far the replicas of lake.toml are behind."""

from __future__ import annotations

import re
from typing import Annotated

import typer

import lakehouse
from lakehouse.errors import Config
from lakehouse_cli import output
from lakehouse_cli.options import Session, command

__all__ = ["parse_duration", "register"]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_duration(text: str) -> float:
    """Seconds of ``90s``, ``15m``, ``1h``, ``2d``, ``1w`` or several together (``1h30m``). Raises `Config` for other text."""
    parts = list(_DURATION.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text:
        raise Config(f"--max-lag {text}: is no duration; write 90s, 15m, 1h, 2d or 1h30m")
    return sum(float(part[1]) * _SECONDS[part[2]] for part in parts)


def status(
    session: Session,
    max_lag: Annotated[
        str | None, typer.Option("--max-lag", metavar="DURATION", help="Exit 4 when a replica is further behind (15m, 1h, 2d).")
    ] = None,
) -> int:
    """Show, for every dataset of lake.toml and every replica of it, how far it is behind and when it was last proven.

    Exit 1 when a replica could not be looked at: not known is not up to date.
    """
    limit = parse_duration(max_lag) if max_lag is not None else None
    if not session.settings.datasets:
        where = session.settings.path or "no lake.toml was found"
        raise Config(f"{where}: there is no [dataset.NAME] to show; docs/configuration.md has an example")
    replicas = list(lakehouse.status(settings=session.settings))
    late = [replica for replica in replicas if limit is not None and (replica.lag_seconds or 0) > limit]
    unknown = [replica for replica in replicas if replica.error or (limit is not None and replica.lag_seconds is None)]
    exit_code = 4 if late else 1 if unknown else 0
    if session.json:
        from lakehouse_cli.schemas import StatusDocument

        output.document(StatusDocument.of(None, exit_code=exit_code, max_lag_seconds=limit, replicas=replicas))
        return exit_code
    output.table(
        ("DATASET", "REPLICA", "VERSION", "BEHIND", "BYTES BEHIND", "LAG", "PROOF", "PROVEN AT"),
        [
            (
                *(replica.dataset, replica.to, replica.replica_version, replica.versions_behind),
                None if replica.bytes_behind is None else output.Size(replica.bytes_behind),
                None if replica.lag_seconds is None else f"{replica.lag_seconds:.0f}s",
                *(replica.last_proof, replica.last_proof_at),
            )
            for replica in replicas
        ],
    )
    for replica in replicas:
        if replica.error:
            output.note(f"! {replica.dataset} at {replica.to}: {replica.error}")
    return exit_code


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    command(app, "status", example="lake status --max-lag 1h")(status)
