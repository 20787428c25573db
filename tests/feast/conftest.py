"""One repository a format for all statements of `lines`, made when the first test asks for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.feast.lines import TABLES, definitions
from tests.feast.redis_server import redis_server
from tests.feast.worlds import Kind, World, made

__all__ = ["WorldOf", "lines_world", "redis_server"]

WorldOf = Callable[[Kind], World]


@pytest.fixture(scope="session")
def lines_world(tmp_path_factory: pytest.TempPathFactory) -> WorldOf:
    """The repository of `lines` on datasets of a format."""
    worlds: dict[Kind, World] = {}

    def of_kind(kind: Kind) -> World:
        if kind not in worlds:
            worlds[kind] = made(tmp_path_factory.mktemp(f"lines-{kind}"), kind, TABLES, definitions)
        return worlds[kind]

    return of_kind
