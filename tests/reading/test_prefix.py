"""The first text above all that begin alike."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lakehouse.reading.prefix import text_after


@pytest.mark.parametrize(
    ("prefix", "after"),
    [("a", "b"), ("az", "a{"), ("\ud7ff", "\ue000"), ("a\U0010ffff", "b"), ("\U0010ffff" * 3, None), ("", None)],
)
def test_the_first_text_above(prefix: str, after: str | None) -> None:
    assert text_after(prefix) == after


letters = st.sampled_from("\0a\u00e9\ud7ff\ue000\uffff\U00010000\U0010ffff")
texts = st.text(letters, max_size=4)


@given(texts.filter(bool), texts)
@example("\ud7ff", "\ue000")
@example("\uffff", "\U00010000")
def test_a_text_begins_so_just_where_it_lies_in_the_range(prefix: str, text: str) -> None:
    after = text_after(prefix)
    written = text.encode()
    within = written >= prefix.encode() and (after is None or written < after.encode())
    assert within == text.startswith(prefix)
