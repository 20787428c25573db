"""Fresh Iceberg tables by the reference implementation, replicated, the source taken away, and judged by it.

Needs Java 17 and the oracle: ``ORACLE`` names its folder (environment and jars), else it is set up below ``.tools`` where ``uv``
and ``mvn`` are there. ``LAKE_ORACLE_SEED`` repeats a run.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("spark")]

_SCRIPTS = Path(os.environ.get("LAKE_ORACLE_SCRIPTS", Path(__file__).parents[4] / "shared" / "oracle"))
_TOOLS = Path(os.environ.get("LAKE_TOOLS", Path(__file__).parents[3] / ".tools"))
_LAKE = Path(sys.executable).with_name("lake")
_SYNC = f"{_LAKE} sync {{source}} {{target}} --json"
KINDS = (
    "i_v1", "i_cow", "i_mor", "i_mor_file", "i_v3", "i_up", "i_refs", "i_evolve", "i_expire", "i_stats", "i_outside", "i_orc",
    "i_avro", "i_types", "i_wild",
)  # fmt: skip

_BETWEEN = """
import json, os, subprocess, sys, threading
from session import spark
out, targets, lake = sys.argv[1:4]
conf = {"spark__sql__catalog__ice__warehouse": f"file://{out}", "spark__sql__catalog__ice__cache-enabled": "false",
        "spark__sql__catalog__copy": "org.apache.iceberg.spark.SparkCatalog", "spark__sql__catalog__copy__type": "hadoop",
        "spark__sql__catalog__copy__warehouse": f"file://{targets}", "spark__sql__catalog__copy__cache-enabled": "false"}
s = spark(out, **conf)
def rows(name, at=""):
    found = s.sql(f"select * from {name} {at}").collect()
    return sorted(json.dumps(row.asDict(recursive=True), default=str, sort_keys=True) for row in found)
def versions(name):
    every = {"main": rows(name)}
    for row in s.sql(f"select snapshot_id from {name}.snapshots").collect():
        every[str(row[0])] = rows(name, f"version as of {row[0]}")
    for row in s.sql(f"select name from {name}.refs").collect():
        every["ref:" + row[0]] = rows(name, f"version as of '{row[0]}'")
    if upgraded:
        every["row lineage"] = rows(f"(select id, _row_id, _last_updated_sequence_number from {name})")
    return every
def snapshot(number):
    return s.sql("select snapshot_id from ice.t.snapshots order by committed_at").collect()[number][0]
def values(first, last):
    return ("select id, concat('s', id) s, cast(id as double) v, date'2026-01-01' + cast(id % 5 as int) d "
            f"from range({first}, {last})")
s.sql("create table ice.t (id bigint, s string, v double, d date) using iceberg partitioned by (days(d)) tblproperties("
      "'format-version'='2', 'write.delete.mode'='merge-on-read', 'write.update.mode'='merge-on-read')")
STEPS = [
    f"insert into ice.t {values(0, 60)}", f"insert into ice.t {values(60, 90)}", "delete from ice.t where id % 7 = 1",
    "update ice.t set v = v + 1 where id % 5 = 2", "call ice.system.rewrite_position_delete_files('t')",
    "call ice.system.rewrite_data_files(table => 't', options => map('rewrite-all', 'true'))",
    f"insert into ice.t {values(100, 130)}", "delete from ice.t where id % 11 = 3", "call ice.system.rewrite_manifests('t')",
    "call ice.system.expire_snapshots(table => 't', older_than => timestamp'2100-01-01 00:00:00', retain_last => 2)",
    f"insert into ice.t {values(200, 220)}", lambda: f"call ice.system.rollback_to_snapshot('t', {snapshot(-2)})",
    f"insert into ice.t {values(300, 320)}", "alter table ice.t create branch audit",
    f"insert into ice.t.branch_audit {values(400, 420)}", "delete from ice.t.branch_audit where id % 3 = 0",
    "call ice.system.fast_forward('t', 'main', 'audit')", "alter table ice.t drop branch audit",
    "alter table ice.t create or replace tag `eoy 2025`", f"insert into ice.t {values(500, 530)}",
    "alter table ice.t create or replace tag `eoy 2025`", "call ice.system.compute_table_stats('t')",
    "alter table ice.t add column extra string", "delete from ice.t where id % 13 = 5",
    "alter table ice.t set tblproperties('format-version'='3')", "delete from ice.t where id % 17 = 5",
    f"insert into ice.t select *, 'x' extra from ({values(600, 620)})", "delete from ice.t where id % 19 = 2",
    "call ice.system.rewrite_data_files(table => 't', options => map('rewrite-all', 'true'))",
    "call ice.system.expire_snapshots(table => 't', older_than => timestamp'2100-01-01 00:00:00', retain_last => 1)",
]
wrong, upgraded = [], False
for number, step in enumerate(STEPS):
    sql = step() if callable(step) else step
    s.sql(sql)
    upgraded = upgraded or "'format-version'='3'" in sql
    there = os.path.exists(f"{targets}/t/metadata/version-hint.text")
    old, new, seen = (rows("copy.t") if there else None), rows("ice.t"), []
    done = threading.Event()
    def poll():
        while there and not done.is_set():
            try: seen.append(rows("copy.t"))
            except Exception as error: seen.append(str(error))
    reader = threading.Thread(target=poll); reader.start()
    ran = subprocess.run([lake, "sync", f"{out}/t", f"{targets}/t", "--json"], capture_output=True, text=True)
    done.set(); reader.join()
    if ran.returncode:
        wrong.append(f"{number} {sql}: exit {ran.returncode}: {(ran.stderr or ran.stdout)[-400:]}"); break
    odd = [look for look in seen if look not in (old, new)]
    if odd: wrong.append(f"{number} {sql}: during the sync a reader saw {str(odd[0])[:300]}")
    here, copy = versions("ice.t"), versions("copy.t")
    wrong += [f"{number} {sql}: {key} differs" for key in here.keys() | copy.keys() if here.get(key) != copy.get(key)]
    if wrong: break
print("RESULT " + json.dumps({"steps": len(STEPS), "wrong": wrong}))
"""


@pytest.fixture(scope="session")
def oracle() -> Path:
    """The folder of the oracle: an environment with Spark, and the jars."""
    if not _SCRIPTS.is_dir():
        pytest.skip(f"the oracle's scripts are not at {_SCRIPTS} (set LAKE_ORACLE_SCRIPTS)")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java 17")
    if "ORACLE" in os.environ:
        return Path(os.environ["ORACLE"])
    folder = _TOOLS / "oracle"
    if not (folder / ".ready").exists():
        if shutil.which("uv") is None or shutil.which("mvn") is None:
            pytest.skip("the oracle is set up by uv and mvn (or set ORACLE to its folder)")
        subprocess.run([str(_SCRIPTS / "setup.sh"), str(folder)], check=True, capture_output=True)
        (folder / ".ready").touch()
    return folder


@pytest.fixture
def run(oracle: Path) -> Callable[..., str]:
    """Run a script of the oracle, or one that uses it, in its environment; gives what it printed."""

    def run_script(*command: str, timeout_seconds: float = 1500) -> str:
        environment = os.environ | {"ORACLE": str(oracle), "PYTHONPATH": str(_SCRIPTS)}
        python = str(oracle / "venv" / "bin" / "python")
        done = subprocess.run(
            [python, *command], env=environment, capture_output=True, text=True, check=False, timeout=timeout_seconds
        )
        assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    return run_script


def test_fresh_tables_of_every_kind_read_the_same_in_every_version_branch_and_tag(
    run: Callable[..., str], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    seed = os.environ.get("LAKE_ORACLE_SEED", str(random.randrange(10**6)))
    record_property("seed", seed)
    made = run(str(_SCRIPTS / "generate.py"), str(tmp_path / "wild"), seed, *KINDS)
    assert {path.stem for path in (tmp_path / "wild" / "_expected").glob("*.json")} == set(KINDS), f"seed {seed}: {made}"
    said = run(str(_SCRIPTS / "judge.py"), str(tmp_path / "wild"), str(tmp_path / "targets"), _SYNC)
    assert f"{len(KINDS)} of {len(KINDS)} wild tables whole" in said, f"seed {seed}: {said}"


def test_after_each_change_that_the_reference_engine_makes_the_target_is_the_same_and_its_readers_saw_old_or_new(
    run: Callable[..., str], tmp_path: Path
) -> None:
    """Trap 17: compaction of data, deletes and manifests, expiry, rollback, branches, tags, statistics, row lineage."""
    said = run("-c", _BETWEEN, str(tmp_path / "source"), str(tmp_path / "target"), str(_LAKE))
    result = json.loads(said.rpartition("RESULT ")[2])
    assert result["wrong"] == []
    assert result["steps"] == 30
