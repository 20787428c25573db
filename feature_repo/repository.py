"""The Feast repository: two files that never change, in a folder with the lake.toml that does."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakehouse.errors import Config

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["applied", "checked_out", "feast", "held"]

FILES = ("feature_store.yaml", "definitions.py")


def checked_out(folder: Path) -> Path:
    """Put a copy of the repository into ``folder``, as a checkout on another machine would be; gives the folder."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(Path(__file__).parent / name, folder / name)
    return folder


def applied(folder: Path) -> FeatureStore:
    """The feature store of the repository in ``folder``, after what ``feast apply`` does."""
    from feast import Entity, FeatureService, FeatureStore, FeatureView, OnDemandFeatureView, Project

    kinds = (Project, Entity, FeatureView, OnDemandFeatureView, FeatureService)
    store = FeatureStore(str(folder))
    store.apply([found for found in vars(_definitions(folder)).values() if isinstance(found, kinds)])
    return store


def _definitions(folder: Path) -> Any:
    """The module definitions.py of ``folder``, run anew: `FeatureStore.apply` writes into the objects that it is given."""
    spec = importlib.util.spec_from_file_location("definitions", folder / "definitions.py")
    if spec is None or spec.loader is None:
        raise Config(f"{folder}: no definitions.py there; check the repository out first")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def feast(folder: Path, command: str) -> list[str]:
    """What ``feast apply`` or ``feast plan`` says of the repository in ``folder``.

    Raises `Config` with the last line that it says where it fails.
    """
    run = subprocess.run(
        [sys.executable, "-m", "feast.cli.cli", "--chdir", str(folder), command], capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise Config(f"feast {command} in {folder}: {(run.stderr.strip() or 'it does not say why').splitlines()[-1]}")
    return [line for line in run.stdout.splitlines() if line.strip()]


def held(store: FeatureStore) -> dict[str, str]:
    """The SHA-256 of the bytes by which the registry holds each source, and the specification of each view and service.

    When they were made and materialized is no part of them.
    """
    registry = store.registry.proto()
    found: dict[str, Any] = {f"source {source.name}": source for source in registry.data_sources}
    found |= {f"view {view.spec.name}": view.spec for view in registry.feature_views}
    found |= {f"service {service.spec.name}": service.spec for service in registry.feature_services}
    return {name: _sha256(message) for name, message in sorted(found.items())}


def _sha256(message: Any) -> str:
    copy = type(message)()
    copy.CopyFrom(message)
    _forget_times(copy)
    return hashlib.sha256(copy.SerializeToString(deterministic=True)).hexdigest()


def _forget_times(message: Any) -> None:
    """Clear what says when a definition was made: the field ``meta``, however deep."""
    for field, value in message.ListFields():
        if field.name == "meta":
            message.ClearField(field.name)
        elif field.type == field.TYPE_MESSAGE and not field.message_type.GetOptions().map_entry:
            for part in value if field.is_repeated else (value,):
                _forget_times(part)
