"""SeaweedFS: an S3 server, and an Iceberg REST catalog of one bucket of tables.

What it gets wrong (do not prove these here): contended creates take seconds a key, ``a//b`` becomes ``a/b``, empty folders
stay after the last delete, and the SHA-256 that signs a request is not compared with the body (``x-amz-checksum-sha256`` is).
Its catalog takes names of ``a-z 0-9 _ -`` only, lists a missing namespace as an empty one, drops unknown keys of metadata,
refuses snapshots that are a minute older than the table's last change, and instead of a table that was registered serves an empty
one that it makes up.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from pathlib import Path

from lakehouse.testing.servers.process import Server, answers, free_ports, script
from lakehouse.testing.servers.s3_bucket import make_bucket

__all__ = ["SeaweedServer"]


class SeaweedServer(Server):
    """An S3 server with credentials of its own. ``endpoint_url``, ``key`` and ``secret`` are fsspec's options.

    Its REST catalog answers at ``catalog_uri`` for the same credentials, for the tables in ``warehouse``.
    """

    warehouse = "s3://warehouse/"

    def __init__(self) -> None:
        super().__init__()
        self.key, self.secret = f"KEY{secrets.token_hex(8)}", secrets.token_hex(20)
        self.endpoint_url = self.catalog_uri = ""
        self._ports: list[int] = []

    def prepare(self, folder: Path) -> Sequence[str]:
        s3, *others = self._ports = free_ports(11)
        self.endpoint_url = f"http://127.0.0.1:{s3}"
        identity = {
            "name": "admin",
            "credentials": [{"accessKey": self.key, "secretKey": self.secret}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        settings = folder / "s3.json"
        settings.write_text(json.dumps({"identities": [identity]}))
        names = (
            "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
            "filer.port", "filer.port.grpc", "s3.port.iceberg", "admin.port", "admin.port.grpc",
        )  # fmt: skip
        ports = dict(zip(names, others, strict=True))
        self.catalog_uri = f"http://127.0.0.1:{ports['s3.port.iceberg']}"
        return [
            script("weed"), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false",
            f"-s3.config={settings}", "-webdav=false", "-admin.ui=false", "-s3.port.lance=0", f"-s3.port={s3}",
            f"-s3.externalUrl={self.endpoint_url}",
            f"-s3.localSocket={folder}/s3.sock", f"-filer.localSocket={folder}/filer.sock",
            "-tableBucket=warehouse", *(f"-{name}={port}" for name, port in ports.items()),
        ]  # fmt: skip

    def ready(self, log: str) -> bool:
        return "are running and ready" in log and answers(self.endpoint_url) and answers(self.catalog_uri)

    def stop(self) -> None:
        """Stop, and remove the sockets that it makes in the machine's folder for temporary files, wherever told to put them."""
        super().stop()
        for port in self._ports:
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)

    def make_bucket(self, name: str) -> None:
        """Create a bucket."""
        make_bucket(self.endpoint_url, self.key, self.secret, name)
