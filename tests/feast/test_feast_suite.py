"""What runs Feast's own tests on the lake; these themselves need a checkout of Feast (suite/README.md)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pandas as pd
import pytest

from lakehouse.errors import NotFound
from lakehouse.lake import Lake
from tests.feast.suite.creator import LakeDataSourceCreator
from tests.feast.worlds import LAKE_KINDS, Kind

SCRIPT = Path(__file__).parents[2] / "scripts" / "feast-suite"


@pytest.mark.parametrize("kind", LAKE_KINDS)
def test_the_suite_is_given_datasets_of_the_format_that_is_asked_for(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE_SUITE_FORMAT", kind)
    creator = LakeDataSourceCreator("project_1", fixture_request=None)
    rows = pd.DataFrame({"id": [1, 2], "ts_1": pd.to_datetime(["2024-01-01", "2024-01-02"], utc=True)}, index=[5, 6])
    source = creator.create_data_source(rows, "orders", field_mapping={"ts_1": "ts"})
    logs = creator.create_logged_features_destination()
    again = creator.create_data_source(rows, "orders")

    lake = Lake.from_config(creator.create_offline_store_config().lake_config)
    assert list(lake) == [source.dataset, logs.dataset, again.dataset]
    assert lake.settings.datasets[source.dataset].format == kind
    assert lake[source.dataset].read().to_arrow().to_pydict() == rows.to_dict(orient="list")
    assert lake.sql(f"SELECT id FROM {vars(source)['table']} ORDER BY id").to_arrow().to_pydict() == {"id": [1, 2]}
    with pytest.raises(NotFound):
        lake[logs.dataset].schema()

    creator.teardown()
    assert not creator.folder.exists()


def test_without_a_checkout_the_script_says_what_it_wants(tmp_path: Path) -> None:
    for arguments in ([], [str(tmp_path)]):
        ended = subprocess.run([str(SCRIPT), *arguments], capture_output=True, text=True, timeout=60)
        assert ended.returncode != 0
        assert "give the folder sdk/python of a checkout of feast" in ended.stderr
