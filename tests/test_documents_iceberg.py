"""docs/iceberg.md and docs/performance.md: the tests, options and benchmarks that they name exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ICEBERG = (ROOT / "docs" / "iceberg.md").read_text()
TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
DEFECTS = [line for line in ICEBERG.splitlines() if re.match(r"\| \d+ \|", line)]


@cache
def functions_in(path: str) -> set[str]:
    """The names of the test functions in a module below tests/."""
    tree = ast.parse((ROOT / "tests" / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.parametrize("line", DEFECTS, ids=lambda line: line.split("|")[1].strip())
def test_every_defect_has_tests_that_exist(line: str) -> None:
    *_, tests, end = line.split("|")
    assert end == ""
    named = TEST.findall(tests)
    assert named
    assert len(named) == tests.count("`") // 2
    for path, name in named:
        assert name in functions_in(path), f"tests/{path} has no {name}"


def test_the_lines_of_the_table_of_defects_are_numbered() -> None:
    assert [int(line.split("|")[1]) for line in DEFECTS] == list(range(1, len(DEFECTS) + 1))
    assert len(DEFECTS) > 10


def test_every_test_of_defects_is_in_the_table() -> None:
    named = {name for path, name in TEST.findall("\n".join(DEFECTS)) if path == "formats/iceberg/test_defects.py"}
    assert functions_in("formats/iceberg/test_defects.py") == named


def test_every_option_that_the_page_names_is_one_of_sync_or_verify() -> None:
    commands = (ROOT / "docs" / "commands.md").read_text()
    known = set(re.findall(r"--[a-z-]+", commands))
    assert set(re.findall(r"--[a-z-]+", ICEBERG)) <= known


def test_every_benchmark_that_is_named_exists() -> None:
    named = re.findall(r"scripts/bench (\w+)", (ROOT / "docs" / "performance.md").read_text())
    assert {"iceberg", "manifests", "transfer"} <= set(named)
    for name in named:
        assert (ROOT / "benchmarks" / f"{name}.py").is_file(), name
