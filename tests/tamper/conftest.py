"""A replica for each test: made once a session, copied for each damage."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.tamper.replicas import Place, make_replica


@pytest.fixture(scope="session")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Place]:
    """The replica of a name, which stays as it is."""
    return cache(lambda name: make_replica(name, tmp_path_factory.mktemp("replicas") / name.replace(" ", "-")))


@pytest.fixture
def place(replica: Callable[[str], Place], tmp_path: Path) -> Callable[[str], Place]:
    """A copy of it, for one test."""

    def copy(name: str) -> Place:
        made = replica(name)
        return Place(name, Path(shutil.copytree(made.folder, tmp_path / "replica")), made.source)

    return copy
