"""The published schemas are those of the models, and every command is documented."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import typer

from lakehouse_cli.app import app
from lakehouse_cli.schemas import DOCUMENTS, FileModel, publish, published

ROOT = Path(__file__).parents[2]
GLOBAL = {"--json", "--config", "--verbose", "--log-format", "--help", "-h", "-v"}


def commands() -> dict[str, list[str]]:
    """Every command with its options, groups opened."""
    found: dict[str, list[str]] = {}
    waiting = [("", typer.main.get_command(app))]
    while waiting:
        prefix, command = waiting.pop()
        inner = getattr(command, "commands", None)
        if inner is None:
            found[prefix] = [option for parameter in command.params for option in parameter.opts if option.startswith("-")]
        else:
            waiting += [(f"{prefix} {name}".strip(), each) for name, each in inner.items()]
    return found


def test_documents_are_built_only_for_json(tmp_path: Path) -> None:
    """They are a tenth of what a sync costs that finds nothing new."""

    def imported(*arguments: str) -> str:
        command = [sys.executable, "-X", "importtime", "-m", "lakehouse_cli.main", *arguments, "ls", str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stderr

    assert "lakehouse_cli.schemas" not in imported()
    assert "lakehouse_cli.schemas" in imported("--json")


def test_the_schemas_in_docs_are_those_of_the_models() -> None:
    folder = ROOT / "docs" / "schemas"
    assert {file.name: file.read_text(encoding="utf-8") for file in folder.glob("*.json")} == published(), (
        "run: python -m lakehouse_cli.schemas docs/schemas"
    )


def test_publishing_writes_one_file_a_document(tmp_path: Path) -> None:
    publish(tmp_path / "schemas")
    assert {file.stem for file in (tmp_path / "schemas").iterdir()} == set(DOCUMENTS)


def test_every_command_option_and_field_is_documented() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    sections = {part.partition("\n")[0].strip("` "): part for part in text.split("\n## ")[1:]}
    for name, options in commands().items():
        section = sections[f"lake {name}"]
        assert f"lake {name}" in section.partition("\n")[2], f"{name} has no example"
        for option in set(options) - GLOBAL:
            assert f"`{option}" in section or f" {option}" in section, f"lake {name} {option} is not documented"
        for model in (DOCUMENTS[key] for key in DOCUMENTS if key.split("-dry")[0] == name.replace(" ", "-")):
            for field in set(model.model_fields) - {"schema_version", "command", "ok", "exit_code"}:
                assert f"`{field}`" in section, f"lake {name}: field {field} is not documented"
    for option in GLOBAL - {"-h"}:
        assert f"`{option}" in text or "`-v`" in text


def test_every_help_text_has_an_example() -> None:
    waiting = [typer.main.get_command(app)]
    while waiting:
        command = waiting.pop()
        inner = getattr(command, "commands", None)
        if inner is None:
            assert command.help
            assert str(command.epilog).startswith("Example: lake ")
        else:
            waiting += inner.values()


def test_every_documented_key_of_lake_toml_is_known_and_every_known_one_documented() -> None:
    from lakehouse.config import STORE_OPTIONS

    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert not {key for key in STORE_OPTIONS if f"`{key}`" not in text}


def test_names_that_are_no_unicode_become_json() -> None:
    file = FileModel(path=b"caf\xe9".decode("utf-8", "surrogateescape"), size=1, required=True)
    assert file.model_dump_json()
