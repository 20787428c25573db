"""What a run may take: memory, bandwidth, workers."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lakehouse.testing.servers import FaultProxy, Rule, SeaweedServer
from tests.clouds.conftest import Lake
from tests.clouds.engine import MIB, Engine, bodies, data, files, fill

CEILING = 200
"""MiB that a run with --memory 128M may have resident: it has 90 to 105, of which 60 are Python and its libraries."""


@pytest.fixture
def engine(
    lake: Lake, seaweed: SeaweedServer, seaweed_other: SeaweedServer, proxies: tuple[FaultProxy, FaultProxy]
) -> Iterator[Engine]:
    made = Engine(lake, seaweed, seaweed_other, *proxies, timeout=30.0)
    yield made
    made.clear()


def peak_of(engine: Engine, *arguments: str) -> tuple[int, str]:
    """The largest resident size (MiB) of a process that runs the command, and what else it printed.

    Linux counts in getrusage what the parent had before exec; VmHWM is the process's own.
    """
    script = """
        import sys
        from lakehouse_cli.main import run
        code = run(sys.argv[1:])
        print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1], file=sys.stderr)
        sys.exit(code)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), *arguments]
    run = subprocess.run(command, env=engine.lake.environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return int(run.stderr.split()[-1]) >> 10, run.stdout


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks are read from /proc")
@pytest.mark.parametrize("slow", ["sending", *(pytest.param(slow, marks=pytest.mark.slow) for slow in ("reading", "neither"))])
def test_memory_stays_in_its_budget_through_a_slow_link(engine: Engine, slow: str, tmp_path: Path) -> None:
    """Sixteen workers, six objects of 24 MiB and two hundred small ones. Without a budget 16 x 24 MiB and more would be held."""
    wanted = {f"large/{number}": data(24 * MIB, number) for number in range(6)}
    wanted |= {f"small/{number:03d}": data(20_000 + number, number) for number in range(200)}
    fill(engine.store("one"), wanted)
    link = {
        "reading": (engine.one, Rule("slow", "GET", "large/", times=None, bytes_per_second=32 * MIB)),
        "sending": (engine.two, Rule("slow_request", "PUT", "partNumber", times=None, bytes_per_second=32 * MIB)),
    }
    if slow in link:
        proxy, rule = link[slow]
        proxy.rules.append(rule)
    peak, _ = peak_of(engine, "sync", "one:t", "two:t", "--format", "files", "--memory", "128M", "--workers", "16")
    assert peak < CEILING, f"{peak} MiB"
    assert {info.path: info.size for info in engine.store("two").list()} == {path: len(body) for path, body in wanted.items()}


def test_bandwidth_is_limited_over_all_workers(engine: Engine, tmp_path: Path) -> None:
    """8 MiB at 2 MiB a second, of which the first second is in hand: at least 2.5 seconds."""
    wanted = {f"{number}": data(MIB, number) for number in range(8)}
    source = files(tmp_path / "source", wanted)
    start = time.monotonic()
    engine.sync(str(source), "two:t", bwlimit="2M")
    assert 2.4 < time.monotonic() - start < 12
    assert engine.contents("two") == wanted


def test_bandwidth_is_limited_in_the_other_direction_too(engine: Engine, tmp_path: Path) -> None:
    wanted = {f"{number}": data(MIB, number) for number in range(8)}
    fill(engine.store("two"), wanted)
    start = time.monotonic()
    engine.sync("two:t", str(tmp_path / "target"), bwlimit="off:3M")
    assert 1.2 < time.monotonic() - start < 10


def test_a_large_object_is_held_to_the_bandwidth_as_well(engine: Engine, tmp_path: Path) -> None:
    """The first part goes at once and is paid before the second: 8 MiB at 4 MiB a second, less the one in hand."""
    wanted = {"large": data(16 * MIB, 1)}
    start = time.monotonic()
    engine.sync(str(files(tmp_path / "source", wanted)), "two:t", bwlimit="4M")
    assert 0.9 < time.monotonic() - start < 10
    assert engine.contents("two") == wanted


def test_one_worker_brings_over_large_and_small_objects(engine: Engine) -> None:
    wanted = {"large/0": data(20 * MIB, 1), "large/1": data(9 * MIB, 2), "small": b"x", "empty": b""}
    fill(engine.store("one"), wanted)
    engine.sync("one:t", "two:t", workers=1, memory="128M")
    assert engine.contents("two") == wanted
    assert len(bodies(engine.two)) == 3 + 2 + 2
    assert engine.sync("one:t", "two:t", workers=1).unchanged
