"""What a person at a terminal sees: bars on stderr, aligned tables, and neither where they are not wanted."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import LAKE, Lake


def at_a_terminal(lake: Lake, *arguments: str | Path, stdout: bool = False, **environ: str) -> tuple[int, str, str]:
    """Run with stderr (and ``stdout``) at a terminal; gives the exit code, stdout and what the terminal got."""
    leader, follower = pty.openpty()
    environment = lake.environ(TERM="xterm", COLUMNS="200", **environ)
    for name in ("CI", "NO_COLOR"):
        if name not in environ:
            environment.pop(name, None)
    with subprocess.Popen(
        [str(LAKE), *map(str, arguments)],
        cwd=lake.folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=follower if stdout else subprocess.PIPE,
        stderr=follower,
    ) as process:
        os.close(follower)
        shown = b""
        while True:
            try:
                data = os.read(leader, 65536)
            except OSError:  # Linux answers so when the other side is closed
                break
            if not data:
                break
            shown += data
        printed = process.stdout.read() if process.stdout is not None else b""
    os.close(leader)
    return process.returncode, printed.decode(), shown.decode()


def test_a_terminal_gets_bars_with_bytes_and_objects_and_stdout_the_result(lake: Lake, table: Path) -> None:
    code, printed, shown = at_a_terminal(lake, "sync", table, "replica")
    assert code == 0
    assert "transfer" in shown
    assert "3/3 objects" in shown
    assert printed.startswith("parquet version")
    assert "\x1b" not in printed


@pytest.mark.parametrize(("arguments", "environ"), [(("--json",), {}), ((), {"CI": "true"}), ((), {"NO_COLOR": "1"})])
def test_no_bars_where_they_are_not_wanted(lake: Lake, table: Path, arguments: tuple[str, ...], environ: dict[str, str]) -> None:
    code, printed, shown = at_a_terminal(lake, "sync", table, "replica", *arguments, stdout=False, **environ)
    assert (code, shown) == (0, "")
    assert printed


def test_lines_of_verify_are_on_stdout_while_a_bar_is_shown(lake: Lake, table: Path) -> None:
    assert lake("sync", table, "replica").exit_code == 0
    code, printed, shown = at_a_terminal(lake, "verify", "replica", "-v")
    assert code == 0
    assert "= day=1/part-1.parquet" in printed.splitlines()
    assert "verify" in shown


def test_tables_are_aligned_and_sizes_are_for_people(lake: Lake, table: Path) -> None:
    (table / "big").write_bytes(b"x" * 1_500_000)
    code, _, shown = at_a_terminal(lake, "ls", table, stdout=True)
    assert code == 0
    assert "1.5 MB" in shown
    assert "\t" not in shown


def test_brackets_in_names_are_no_markup(lake: Lake) -> None:
    (lake.folder / "data").mkdir()
    (lake.folder / "data" / "[red]x").touch()
    assert "[red]x" in at_a_terminal(lake, "ls", "data", stdout=True)[2]
