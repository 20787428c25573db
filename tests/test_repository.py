"""What the repository promises of itself: small modules, documented names, a wheel that holds what it should."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import lakehouse

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for folder in ("lakehouse", "connectors", "cli") for path in (ROOT / folder).rglob("*.py"))
EXAMPLE = sorted((ROOT / "feature_repo").glob("*.py"))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *(ROOT / "feature_repo").glob("*.md")]


def test_a_module_fits_on_a_few_screens_and_says_what_it_is_for() -> None:
    found = [f"{path.relative_to(ROOT)}: {finding}" for path in (*SOURCES, *EXAMPLE) for finding in _findings(path.read_text())]
    assert not found, "\n".join(found)


def _findings(text: str) -> Iterator[str]:
    tree = ast.parse(text)
    if not ast.get_docstring(tree):
        yield "says not what it is for"
    if text.count("\n") > 420:
        yield "has more than 420 lines"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno >= 60:
            yield f"{node.name} has 60 lines or more"


def test_only_output_prints() -> None:
    printing = [
        path.name
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    ]
    assert set(printing) == {"output.py"}


def test_every_public_name_is_there_and_documented() -> None:
    documented = (ROOT / "docs" / "python.md").read_text()
    for name in lakehouse.__all__:
        assert hasattr(lakehouse, name)
        assert name.startswith("__") or f"`{name}`" in documented, f"{name} is not in docs/python.md"


def test_every_link_between_documents_leads_somewhere() -> None:
    for document in (*DOCUMENTS, ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"):
        for link in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            assert link.startswith("http") or (document.parent / link).exists(), f"{document.name}: {link}"


def test_every_command_that_the_documents_name_exists() -> None:
    from typer.main import get_command

    from lakehouse_cli.app import app

    commands = set(getattr(get_command(app), "commands"))  # noqa: B009 - typer's Group has no such name for mypy
    for document in DOCUMENTS:
        for line in re.findall(r"^\$ lake ([a-z]+)", document.read_text(), re.MULTILINE):
            assert line in commands, f"{document.name}: lake {line}"


def test_constraints_are_plain_versions_and_name_no_place() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!-]+", line), line


on_one_worker = pytest.mark.xdist_group("wheel")
"""The wheel is built once, and what takes longest begins first: groups go before single tests."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@on_one_worker
def test_the_wheel_holds_the_three_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {
        "lakehouse", "lakehouse_cli", "lakehouse_connectors",
    }  # fmt: skip
    for wanted in (
        "lakehouse/py.typed",
        "lakehouse_connectors/s3_providers.toml",
        "lakehouse_connectors/feast/__init__.py",
        "lakehouse_cli/py.typed",
    ):
        assert wanted in names


@on_one_worker
def test_the_wheel_in_an_empty_environment_gives_a_working_command(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-compile", "-c", ROOT / "constraints.txt", wheel], check=True)
    lake = tmp_path / "env" / "bin" / "lake"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LAKE")}
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x").write_bytes(b"1")
    for arguments in (["--version"], ["sync", "in", "out", "--format", "files"], ["verify", "out"]):
        subprocess.run([lake, *arguments], check=True, cwd=tmp_path, env=environment)
    assert (tmp_path / "out" / "x").read_bytes() == b"1"
    installed = subprocess.run([python, "-m", "pip", "freeze"], check=True, capture_output=True, text=True).stdout
    assert "pytest==" not in installed
