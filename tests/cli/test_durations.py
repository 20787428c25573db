"""`--max-lag` takes durations as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.errors import Config
from lakehouse_cli.status import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("1h30m", 5400), ("2d", 172800), ("1.5h", 5400), ("1w", 604800)]
)
def test_a_duration_is_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from("smhdw")), min_size=1, max_size=4))
def test_parts_add_up(parts: list[tuple[int, str]]) -> None:
    whole = "".join(f"{number}{unit}" for number, unit in parts)
    assert parse_duration(whole) == sum(parse_duration(f"{number}{unit}") for number, unit in parts)


@given(st.text(max_size=8))
def test_other_text_is_a_configuration_error(text: str) -> None:
    try:
        assert parse_duration(text) >= 0
    except Config as error:
        assert "1h30m" in str(error)


@pytest.mark.parametrize("text", ["", "1", "h", "1h 30m", "-1h", "1hour"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(Config):
        parse_duration(text)
