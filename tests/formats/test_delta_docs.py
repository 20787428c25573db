"""docs/delta.md says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from lakehouse.formats.delta.features import CARRIED, REFUSED

DOCUMENT = Path(__file__).parents[2] / "docs" / "delta.md"


def table_of_features() -> list[str]:
    """The rows that the document must have, in their order."""
    carried = [f"| `{name}` | carried: {reason} |" for name, reason in CARRIED.items()]
    return [*carried, *(f"| `{name}` | **refused**: {reason} |" for name, reason in REFUSED.items())]


def test_the_features_in_the_documentation_are_those_of_the_code_with_their_reasons() -> None:
    rows = re.findall(r"^\| `[^`]+` \| (?:carried|\*\*refused\*\*): .*\|$", DOCUMENT.read_text(), re.MULTILINE)
    assert rows == table_of_features()
