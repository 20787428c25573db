"""Starting and stopping a server's process: on free loopback ports, in a process group of its own, stopped by its own id.

A server does not outlive the process that started it, however that one ends: a shell beside it waits at a pipe whose other end is
held by the starter alone, and ends the server when the pipe closes.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from lakehouse.errors import Config

__all__ = ["Server", "answers", "create", "free_ports", "package_file", "script"]

START_SECONDS = 60.0
STOP_SECONDS = 2.0
WATCH = 'read -r _ || { kill -s TERM -- "-$1"; sleep 1; kill -s KILL -- "-$1"; rm -rf -- "$2"; }'
"""For sh, with a process group and its folder: nothing to do once a line came, else the starter is gone."""

HINT = "pip install 'lakehouse-portability[demo]'"


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on. They are free now; whoever starts next could take one, so start soon."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def script(name: str) -> str:
    """The path of a program that a wheel installed beside this Python. Raises `Config` where it is missing."""
    found = Path(sysconfig.get_path("scripts")) / name
    if not found.exists():
        raise Config(f"the program {name} is not installed: {HINT}")
    return str(found)


def package_file(package: str, *parts: str, hint: str = HINT) -> Path:
    """A file inside an installed package. Raises `Config` with ``hint``, how to get it, where it is missing."""
    spec = importlib.util.find_spec(package)
    locations = list(spec.submodule_search_locations or ()) if spec is not None else []
    for location in locations:
        found = Path(location, *parts)
        if found.exists():
            return found
    raise Config(f"the package {package} is not installed: {hint}")


def answers(url: str) -> bool:
    """Whether an HTTP server answers at ``url``, whatever it says."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except OSError:
        return False


def create(request: urllib.request.Request) -> None:
    """Send a request that makes a bucket or container; one that is there already is fine."""
    try:
        with urllib.request.urlopen(request, timeout=30):
            return
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 409:
            raise


class Server(ABC):
    """A server of this machine as a context manager. Subclasses build ``command`` in ``prepare`` and say when it is ``ready``."""

    def __init__(self) -> None:
        self._closing = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def prepare(self, folder: Path) -> Sequence[str]:
        """The command to run; ``folder`` is removed after the server was stopped."""

    @abstractmethod
    def ready(self, log: str) -> bool:
        """Whether it serves. ``log`` is what it has printed so far."""

    def __enter__(self) -> Self:
        try:
            folder = Path(
                self._closing.enter_context(tempfile.TemporaryDirectory(prefix="lake-server-", ignore_cleanup_errors=True))
            )
            command = self.prepare(folder)
            output = folder / "server.log"
            log = self._closing.enter_context(output.open("wb"))
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True, cwd=folder,
                env={**os.environ, "TMPDIR": str(folder)},
            )  # fmt: skip
            self._watch = _watch(self._process.pid, folder)
            self._wait(lambda: output.read_text(errors="replace"))
        except BaseException:
            self.stop()
            raise
        return self

    def _wait(self, log: Callable[[], str]) -> None:
        process, until = self._process, time.monotonic() + START_SECONDS
        while process is not None and not self.ready(log()):
            if process.poll() is not None:
                raise Config(f"{type(self).__name__}: ended with {process.returncode} while starting: {log()[-2000:]}")
            if time.monotonic() > until:
                raise Config(f"{type(self).__name__}: was not ready within {START_SECONDS:.0f} seconds: {log()[-2000:]}")
            time.sleep(0.05)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process and what it started, and remove its data. A double has nothing to lose, so patience is short."""
        process, self._process = self._process, None
        if process is not None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(process.pid, number)
                    process.wait(STOP_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    continue
                except ProcessLookupError:
                    process.wait(STOP_SECONDS)
                    break
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.communicate(b"stopped\n")
        self._closing.close()


def _watch(group: int, folder: Path) -> subprocess.Popen[bytes]:
    """Ends the process ``group`` and removes ``folder`` when this process is gone. A session of its own outlives Ctrl-C."""
    command = ["/bin/sh", "-c", WATCH, "lake-server-watch", str(group), str(folder)]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True)
