"""moto: a second opinion on S3.

It accepts wrong keys, wrong checksums and tampered signatures, and of writers that race for one key two can win: prove none of
these here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from lakehouse.testing.servers.process import Server, answers, free_ports, package_file
from lakehouse.testing.servers.s3_bucket import make_bucket

__all__ = ["MotoServer"]


class MotoServer(Server):
    """An S3 server in memory. ``endpoint_url``, ``key`` and ``secret`` are fsspec's options."""

    key, secret = "moto-key", "moto-secret-of-this-double"

    def prepare(self, folder: Path) -> Sequence[str]:
        package_file("moto", "server.py", hint="pip install 'moto[server,s3]'")
        (port,) = free_ports(1)
        self.endpoint_url = f"http://127.0.0.1:{port}"
        return [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]

    def ready(self, log: str) -> bool:
        return answers(f"{self.endpoint_url}/moto-api/")

    def make_bucket(self, name: str) -> None:
        """Create a bucket."""
        make_bucket(self.endpoint_url, self.key, self.secret, name)
