"""Where the corpus of real tables lies, and a count of what became of them at the end of the run."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

CORPUS = Path(os.environ.get("LAKE_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The corpus's folder; tests that need it are skipped without."""
    if not CORPUS.is_dir():
        pytest.skip("the corpus of real tables is not here (set LAKE_CORPUS to its folder)")
    return CORPUS


def names(kind: str) -> list[str]:
    """Tables of one kind (``expected/delta``, ``wild/_expected``), for parametrisation; one placeholder without a corpus."""
    found = sorted(path.stem for path in (CORPUS / kind).glob("*.json"))
    return found or ["no-corpus"]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Count the tables that were replicated, refused by name, or failed."""
    outcomes: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) != "call":
                continue
            outcomes.update(value for name, value in getattr(report, "user_properties", ()) if name == "corpus")
    if outcomes:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
        terminalreporter.write_line(f"corpus of real tables: {counts}")
