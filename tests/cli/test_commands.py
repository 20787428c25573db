"""The other commands, and what holds for all of them: exit codes, options, errors, secrets."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import LAKE, Lake, Ran
from tests.cli.test_sync_and_verify import check

HEAVY = {"pyarrow", "deltalake", "pyiceberg", "duckdb", "fsspec", "s3fs", "feast", "pandas", "numpy", "pydantic", "typer", "rich"}


def modules_after(lake: Lake, code: str) -> Ran:
    """What ``code`` prints, and on stderr's last line the names of all modules that it imported."""
    code = f"import sys\n{code}\nprint(' '.join(sys.modules), file=sys.stderr)"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=lake.folder, env=lake.environ()
    )
    return Ran(0, ran.stdout, ran.stderr.splitlines()[-1])


class TestTheWholeCommand:
    def test_version_imports_nothing_heavy(self, lake: Lake) -> None:
        ran = modules_after(lake, "from lakehouse_cli.main import run; run(['--version'])")
        assert ran.stdout.startswith("lake ")
        assert "lakehouse_cli.main" in ran.stderr.split()
        assert not HEAVY & {name.partition(".")[0] for name in ran.stderr.split()}

    def test_neither_the_library_nor_help_nor_a_sync_imports_feast(self, lake: Lake, delta_table: Path) -> None:
        ran = modules_after(
            lake,
            "import lakehouse; from lakehouse_cli.main import run\n"
            "assert all(getattr(lakehouse, name) is not None for name in lakehouse.__all__)\n"
            f"assert (run(['--help']), run(['sync', {str(delta_table)!r}, 'copy'])) == (0, 0)",
        )
        assert "lakehouse.sync" in ran.stderr.split()
        assert "lakehouse_connectors.local" in ran.stderr.split()
        assert not [
            name for name in ran.stderr.split() if name == "feast" or name.startswith(("feast.", "lakehouse_connectors.feast"))
        ]

    def test_both_names_of_the_command_answer(self, lake: Lake) -> None:
        other = subprocess.run([LAKE.with_name("lakehouse"), "--version"], capture_output=True, text=True, check=True)
        assert other.stdout == lake("--version").stdout
        assert lake("--json", "--version").stdout == other.stdout

    @pytest.mark.parametrize(
        "arguments", [["nope"], ["sync"], ["sync", "a"], ["ls", "a", "--nope"], ["sync", "a", "b", "--level", "most"]]
    )
    def test_a_wrong_call_is_exit_2_in_one_line(self, lake: Lake, arguments: list[str]) -> None:
        ran = lake(*arguments)
        assert (ran.exit_code, ran.stdout) == (2, "")
        assert len(ran.stderr.splitlines()) == 1
        assert "--help" in ran.stderr

    @pytest.mark.parametrize("arguments", [[], ["config"]])
    def test_a_name_that_is_no_command_shows_help_and_is_exit_2(self, lake: Lake, arguments: list[str]) -> None:
        ran = lake(*arguments)
        assert ran.exit_code == 2
        assert "Commands" in ran.stdout

    def test_global_options_stand_before_or_after_the_commands_name(self, lake: Lake, tmp_path: Path) -> None:
        (tmp_path / "other.toml").write_text('[store.other]\nurl = "s3://b"\n')
        before = lake("--json", "--config", "other.toml", "config", "show")
        after = lake("config", "show", "--json", "--config", "other.toml")
        assert before == after
        assert before.document["settings"][0]["key"] == "store.other.url"

    def test_an_error_has_a_document_and_a_line(self, lake: Lake) -> None:
        ran = lake("ls", "nosuch:place", "--json")
        assert ran.exit_code == 2
        check(ran.document, "error")
        assert ran.document["command"] == "ls"
        assert ran.document["error"]["kind"] == "Config"
        assert len(ran.stderr.splitlines()) == 1
        assert "Traceback" not in ran.stderr

    def test_a_traceback_is_shown_only_with_vv(self, lake: Lake) -> None:
        assert "Traceback" not in lake("ls", "nosuch:place", "-v").stderr
        assert "Traceback" in lake("ls", "nosuch:place", "-vv").stderr

    def test_v_says_what_each_step_does_on_stderr(self, lake: Lake, table: Path) -> None:
        ran = lake("sync", table, "replica", "-v", "--json")
        assert "info: transfer: 3 objects" in ran.stderr
        assert ran.document["ok"] is True

    def test_errors_can_be_events_of_one_line(self, lake: Lake) -> None:
        ran = lake("ls", "nosuch:place", "--log-format", "json", "-vv")
        events = [json.loads(line) for line in ran.stderr.splitlines()]
        assert events[-1]["event"] == "error"
        assert events[-1]["kind"] == "Config"

    def test_progress_is_events_of_one_line_each(self, lake: Lake, table: Path) -> None:
        ran = lake("sync", table, "replica", "--log-format", "json", "--json")
        assert ran.exit_code == 0, ran.stderr
        events = [json.loads(line) for line in ran.stderr.splitlines()]
        assert any(event["event"] == "progress" and event["step"] == "transfer" for event in events)
        assert ran.document["ok"] is True

    def test_completion_offers_commands_and_options(self, lake: Lake) -> None:
        named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # no shell may be running the tests
        assert "_LAKE_COMPLETE" in lake("--show-completion", "bash", **named).stdout
        offered = lake(_LAKE_COMPLETE="complete_bash", COMP_WORDS="lake sync --l", COMP_CWORD="2").stdout.split()
        assert offered == ["--level", "--location", "--log-format"]

    def test_a_closed_pipe_is_no_traceback(self, lake: Lake) -> None:
        for number in range(3000):
            (lake.folder / f"{'x' * 100}-{number}").touch()
        ran = subprocess.run(
            f"{LAKE} ls . | head -1", shell=True, capture_output=True, text=True, cwd=lake.folder, env=lake.environ(), check=True
        )
        assert ran.stdout.startswith("SIZE")
        assert ran.stderr == ""


class TestInterrupting:
    def test_ctrl_c_ends_with_130_and_one_line(self, lake: Lake) -> None:
        """Sent while a place is being listed that never answers."""
        code = (
            "import os, signal, sys, threading\n"
            "import fsspec\n"
            "from fsspec.implementations.memory import MemoryFileSystem\n"
            "from lakehouse_cli import main\n"
            "def never(*a, **k):\n"
            "    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
            "    threading.Event().wait(300)\n"
            "class Blocking(MemoryFileSystem):\n"
            "    protocol = 'block'\n"
            "    ls = find = never\n"
            "fsspec.register_implementation('block', Blocking)\n"
            "sys.argv = ['lake', 'ls', 'block://x', '--json']\n"
            "main.main()\n"
        )
        ran = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=lake.environ(), timeout=100, check=False
        )
        assert ran.returncode == 130, ran.stderr
        assert len(ran.stderr.splitlines()) == 1
        assert json.loads(ran.stdout)["error"]["kind"] == "Interrupted"

    @pytest.mark.parametrize("module", ["lakehouse", "typer", "lakehouse_cli.app"])
    def test_ctrl_c_while_modules_are_imported_ends_with_130_and_one_line(self, lake: Lake, module: str) -> None:
        code = (
            "import os, signal, sys\n"
            "from lakehouse_cli import main\n"
            "assert 'lakehouse' not in sys.modules and 'typer' not in sys.modules\n"
            "class Importing:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
            "sys.meta_path.insert(0, Importing())\n"
            "sys.argv = ['lake', 'ls', '.', '--json']\n"
            "main.main()\n"
        )
        ran = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=lake.environ(), timeout=100, check=False
        )
        assert ran.returncode == 130, ran.stderr
        assert len(ran.stderr.splitlines()) == 1
        assert json.loads(ran.stdout)["error"]["kind"] == "Interrupted"

    def test_the_second_ctrl_c_ends_at_once(self, lake: Lake) -> None:
        code = (
            "import time\n"
            "from lakehouse_cli import main\n"
            "main._Interrupts().release()\n"
            "try:\n"
            "    print('ready', flush=True)\n"
            "    time.sleep(30)\n"
            "except KeyboardInterrupt:\n"
            "    print('first', flush=True)\n"
            "    time.sleep(30)\n"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=lake.environ()) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "first\n"
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=10) == 130
            assert time.monotonic() - began < 5


class TestLooking:
    def test_describe_history_and_files_of_a_delta_table(self, lake: Lake, delta_table: Path) -> None:
        described = lake("describe", delta_table, "--json")
        assert described.exit_code == 0, described.stderr
        check(described.document, "describe")
        assert (described.document["format"], described.document["version"]) == ("delta", "1")
        assert [column["name"] for column in described.document["columns"]] == ["id"]
        history = lake("history", delta_table, "--json", "--limit", "1")
        check(history.document, "history")
        assert [commit["version"] for commit in history.document["commits"]] == ["1"]
        files = lake("files", delta_table, "--json")
        check(files.document, "files")
        assert sorted(file["path"] for file in files.document["files"]) == ["part-0.parquet", "part-1.parquet"]

    def test_tables_are_tab_separated_in_a_pipe(self, lake: Lake, delta_table: Path) -> None:
        rows = [line.split("\t") for line in lake("files", delta_table).stdout.splitlines()]
        assert rows[0] == ["SIZE", "LIVE", "PATH"]
        assert all(row[0].isdigit() for row in rows[1:])
        assert "id\tlong\tyes" in lake("describe", delta_table).stdout
        assert len(lake("history", delta_table).stdout.splitlines()) == 3

    def test_ls_shows_one_level(self, lake: Lake, delta_table: Path) -> None:
        ran = lake("ls", delta_table, "--json")
        check(ran.document, "ls")
        assert {item["path"] for item in ran.document["objects"]} == {"_delta_log/", "part-0.parquet", "part-1.parquet"}

    def test_control_characters_in_names_do_not_reach_the_terminal(self, lake: Lake) -> None:
        (lake.folder / "data").mkdir()
        (lake.folder / "data" / "a\x1b[31mred").touch()
        ran = lake("ls", "data")
        assert "\x1b" not in ran.stdout
        assert "a\\x1b[31mred" in ran.stdout


class TestStatus:
    def toml(self, lake: Lake) -> None:
        (lake.folder / "lake.toml").write_text(
            '[dataset.features-live]\ntable = "features"\n[[dataset.features-live.replica]]\nto = "replica"\n'
        )

    def test_a_fresh_replica_is_not_behind(self, lake: Lake, delta_table: Path) -> None:
        self.toml(lake)
        assert lake("sync", delta_table, "replica").exit_code == 0
        ran = lake("status", "--max-lag", "1h", "--json")
        assert ran.exit_code == 0, ran.stdout + ran.stderr
        check(ran.document, "status")
        replica = ran.document["replicas"][0]
        assert (replica["versions_behind"], replica["bytes_behind"], replica["last_proof"]) == (0, 0, "bytes")
        assert "features-live" in lake("status").stdout

    def test_a_replica_over_the_limit_is_exit_4(self, lake: Lake, delta_table: Path) -> None:
        self.toml(lake)
        assert lake("sync", delta_table, "replica", "--version", "0").exit_code == 0
        ran = lake("status", "--max-lag", "1h", "--json")
        assert ran.exit_code == 4
        assert ran.document["replicas"][0]["versions_behind"] == 1

    def test_a_replica_that_cannot_be_looked_at_is_exit_1(self, lake: Lake) -> None:
        self.toml(lake)
        ran = lake("status", "--json")
        assert ran.exit_code == 1
        check(ran.document, "status")
        assert ran.document["replicas"][0]["error"]

    def test_nothing_to_show_and_a_limit_that_is_no_duration_are_exit_2(self, lake: Lake) -> None:
        assert lake("status").exit_code == 2
        assert lake("status", "--max-lag", "soon").exit_code == 2


class TestConfigShow:
    TOML = '[store.a]\nurl = "s3://b"\nsecret = "hunter2"\ntoken = "env:TOKEN"\n[store.a.storage_options]\npassword = "hunter2"\n'

    @pytest.mark.parametrize("arguments", [(), ("--json",), ("--origin",), ("-vv",), ("--log-format", "json", "-vv")])
    def test_secrets_are_masked_and_references_are_shown(self, lake: Lake, arguments: tuple[str, ...]) -> None:
        (lake.folder / "lake.toml").write_text(self.TOML)
        ran = lake("config", "show", *arguments, TOKEN="hunter3", LAKE_STORE_A_SAS_TOKEN="hunter4")
        assert ran.exit_code == 0, ran.stderr
        assert "hunter" not in ran.stdout + ran.stderr
        assert "env:TOKEN" in ran.stdout
        assert "***" in ran.stdout

    def test_origins_name_the_file_and_the_variable(self, lake: Lake) -> None:
        (lake.folder / "lake.toml").write_text(self.TOML)
        ran = lake("config", "show", "--origin", LAKE_STORE_A_REGION="eu-west-1")
        assert f"store.a.url\ts3://b\t{lake.folder / 'lake.toml'}" in ran.stdout
        assert "store.a.region\teu-west-1\tenvironment variable LAKE_STORE_A_REGION" in ran.stdout
        check(lake("config", "show", "--json").document, "config-show")

    @pytest.mark.parametrize("flag", ["--json", "-vv"])
    def test_an_error_in_lake_toml_shows_no_secret(self, lake: Lake, flag: str) -> None:
        (lake.folder / "lake.toml").write_text(self.TOML + "secrt = 'hunter5'\n[store.b]\nsecrt = 'hunter5'\n")
        ran = lake("config", "show", flag)
        assert ran.exit_code == 2
        assert "hunter" not in ran.stdout + ran.stderr
        assert "did you mean 'secret'" in ran.stderr


class TestSecretsInMessages:
    @pytest.mark.parametrize("flags", [(), ("--json",), ("-vv",), ("--log-format", "json", "-vv")])
    def test_a_secret_in_somebody_elses_message_is_not_shown(self, lake: Lake, flags: tuple[str, ...]) -> None:
        """The name of a folder that is not there happens to be the secret, and the error names it."""
        (lake.folder / "lake.toml").write_text('[store.a]\nurl = "s3://b"\nsecret = "env:PW"\n')
        ran = lake("describe", "./hunter2hunter2", *flags, PW="hunter2hunter2")
        assert ran.exit_code == 3, ran.stderr
        assert "hunter2" not in ran.stdout + ran.stderr
        assert "***" in ran.stderr


class TestDoctor:
    def test_a_local_store_is_well_with_write(self, lake: Lake, table: Path) -> None:
        ran = lake("doctor", table, "--write", "--json")
        check(ran.document, "doctor")
        found = {item["name"]: item["ok"] for item in ran.document["checks"]}
        assert found["put"] is found["conditional put"] is found["delete"] is found["clock"] is True, ran.stdout
        assert not list((table / "_lake-doctor").glob("*"))
        assert ran.exit_code == (0 if all(found.values()) else 1)

    def test_without_write_nothing_is_written(self, lake: Lake, table: Path) -> None:
        (lake.folder / "lake.toml").write_text('[store.here]\nurl = "orders"\n[store.s3]\nurl = "s3://b"\nsecret = "hunter2"\n')
        before = sorted(table.rglob("*"))
        ran = lake("doctor", "here")
        assert ran.exit_code == 0, ran.stdout + ran.stderr
        assert sorted(table.rglob("*")) == before
        assert "store.s3.secret is a literal secret" in ran.stdout
        assert "hunter2" not in ran.stdout

    def test_unknown_is_not_success(self, lake: Lake) -> None:
        (lake.folder / "empty").mkdir()
        ran = lake("doctor", "empty", "--json")
        assert ran.exit_code == 1
        assert [item["ok"] for item in ran.document["checks"] if item["name"] == "read"] == [None]

    def test_an_empty_place_is_well_with_write(self, lake: Lake) -> None:
        (lake.folder / "empty").mkdir()
        assert lake("doctor", "empty", "--write").exit_code == 0

    def test_without_stores_it_shows_versions(self, lake: Lake) -> None:
        ran = lake("doctor", "--json")
        assert ran.exit_code == 0
        assert ran.document["versions"]["lake"]
