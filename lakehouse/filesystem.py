"""fsspec's file system for a place, for pandas, DuckDB, PyArrow and whatever else reads through fsspec."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakehouse.config import Settings, load
from lakehouse.connect import connector, locate
from lakehouse.errors import Config

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["filesystem"]


def filesystem(place: str, settings: Settings | None = None) -> tuple[AbstractFileSystem, str]:
    """The file system that holds ``place`` and the path of the place in it, like `fsspec.core.url_to_fs`.

    ``place`` is what every function takes: a URL, a path, ``NAME:path`` or a dataset's name; the options of lake.toml
    (``settings``, else the file that applies) are those of its store. Listings are not cached, requests are tried again as fsspec
    does it, and S3 gets the SDK's checksums only where it asks for them. ``fs.unstrip_protocol(path)`` makes a URL of the path.
    Raises `Config` for a place that leads nowhere and for options that fsspec's file system does not take.
    """
    url, named = locate(place, settings or load())
    options = named.resolved_options() if named is not None else {}
    found = connector(url.scheme)
    if found is not None:
        fs, path = found.filesystem(url, options)
        return fs, path
    from fsspec.core import url_to_fs

    try:
        fs, path = url_to_fs(str(url), skip_instance_cache=True, **options)
    except (TypeError, ValueError, ImportError) as error:
        raise Config(f"{url}: fsspec cannot open {url.scheme}:// ({type(error).__name__})") from None
    return fs, path
