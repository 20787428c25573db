"""A plug-in of pytest for runs of Feast's own tests: each runs on the lake, and is shown to have done so.

Some tests ask for Feast's store ``file`` by name; they get the lake instead. A test during which neither the offline store nor a
source of the lake was called fails: it would prove nothing.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import pytest

from lakehouse_connectors.feast import LakeOfflineStore, LakeSource

STORE_CALLS = (
    "get_historical_features",
    "pull_latest_from_table_or_query",
    "pull_all_from_table_or_query",
    "write_logged_features",
    "offline_write_batch",
)
_calls: Counter[str] = Counter()
_reached: dict[str, Counter[str]] = {}


def _counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def counting(*args: Any, **options: Any) -> Any:
        _calls[name] += 1
        return call(*args, **options)

    return counting


def pytest_collection() -> None:
    """Count calls, and put the lake in the place of ``file``."""
    for name in STORE_CALLS:
        setattr(LakeOfflineStore, name, staticmethod(_counted("store", getattr(LakeOfflineStore, name))))
    setattr(LakeSource, "scan", _counted("source", LakeSource.scan))  # noqa: B010 - a method is not assigned to
    stores = importlib.import_module("tests.universal.feature_repos.repo_configuration")
    stores.OFFLINE_STORE_TO_PROVIDER_CONFIG["file"] = stores.AVAILABLE_OFFLINE_STORES[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Run the test, and fail it where nothing of the lake was called since its fixtures were made."""
    yield
    reached = _reached[item.nodeid] = Counter(_calls)
    if not reached:
        pytest.fail("neither LakeOfflineStore nor a LakeSource was called: the test ran on another store")


def pytest_runtest_setup() -> None:
    """Count anew."""
    _calls.clear()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many tests called the store, and how many only a source (where Feast refuses before it asks the store)."""
    ran = len(_reached)
    store = sum(1 for calls in _reached.values() if calls["store"])
    terminalreporter.write_line(f"on the lake: {ran} tests; {store} called LakeOfflineStore, {ran - store} only LakeSource")
