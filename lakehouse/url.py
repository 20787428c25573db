"""Addresses of places where objects lie: parsed once, spelled one way.

=====================================  ==========================================================
written                                canonical
=====================================  ==========================================================
``s3://``, ``s3a://``, ``s3n://``      ``s3://bucket/key``
``gs://``, ``gcs://``                  ``gs://bucket/key``
``abfss://``, ``abfs://``              ``abfss://container@account.dfs.core.windows.net/key``
``az://container/key``                 ``az://container/key`` until a store's settings name the account
a path, ``file:/``, ``file:///``       ``file:///absolute/path``
=====================================  ==========================================================

Keys are raw: nothing is URL-decoded, and ``//`` stays ``//``.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from lakehouse.errors import Config

__all__ = ["Url", "parse"]

_SCHEMES = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfs": "abfss"}
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/]*)(?:/(?P<key>.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Url:
    """A parsed address. ``authority`` is the bucket or ``container@account…`` ("" for files); ``key`` has no outer slashes."""

    scheme: str
    authority: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}/{self.key}" if self.key else f"{self.scheme}://{self.authority}"

    def child(self, path: str) -> Url:
        """The address of ``path`` below this one."""
        return Url(self.scheme, self.authority, f"{self.key}/{path}" if self.key else path)

    @property
    def name(self) -> str:
        """The last segment of the key ("" for a bucket)."""
        return self.key.rpartition("/")[2]

    @property
    def parent(self) -> Url:
        """The address one segment up; a bucket has none.

        Raises `Config` for a bucket or the root of a file system.
        """
        if not self.key:
            raise Config(f"{self}: has no parent folder")
        return Url(self.scheme, self.authority, self.key.rpartition("/")[0])


def parse(text: str) -> Url:
    """Parse a URL or a local path (made absolute against the working directory).

    Raises `Config` for an empty address and for one that holds credentials, which belong in lake.toml or the environment.
    """
    if not text:
        raise Config("an empty address is no place")
    if text.startswith("file:") and not text.startswith("file://"):
        text = "file://" + text.removeprefix("file:")
    match = _URL.fullmatch(text)
    if match is None:
        return Url("file", "", os.path.abspath(os.path.expanduser(text)).strip("/"))
    scheme = match["scheme"].lower()
    authority, key = match["authority"], (match["key"] or "").strip("/")
    user, at, host = authority.rpartition("@")
    if ":" in user or (at and scheme not in ("abfs", "abfss")):
        raise Config(f"{scheme}://…@{host}: credentials do not belong in an address; put them in lake.toml or the environment")
    if scheme == "file":
        return Url(
            "file", "", os.path.abspath(f"/{authority}/{key}" if authority not in ("", "localhost") else f"/{key}").strip("/")
        )
    return Url(_SCHEMES.get(scheme, scheme), authority, key)
