"""Where the corpus of real tables lies."""

from __future__ import annotations

import os
from pathlib import Path

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
