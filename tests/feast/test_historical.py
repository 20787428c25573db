"""Training sets, statement by statement, from Parquet, Delta and Iceberg."""

from __future__ import annotations

import pytest

from tests.feast.conftest import WorldOf
from tests.feast.lines import LINES, Line
from tests.feast.worlds import LAKE_KINDS, Kind

pytestmark = pytest.mark.xdist_group("feast-historical")


@pytest.mark.parametrize("kind", LAKE_KINDS)
@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_a_training_set_is_right(lines_world: WorldOf, kind: Kind, line: Line) -> None:
    assert line.wrong(line.ask(lines_world(kind))) is None
