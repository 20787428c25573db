"""pyiceberg's file access over a `Store`, so that it reaches a table with every option of lake.toml."""

from __future__ import annotations

import io
from typing import Any

from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile, OutputStream

from lakehouse.errors import NotFound, Unsupported
from lakehouse.locations import canonical
from lakehouse.store import Store

__all__ = ["HeldFile", "StoreFiles"]


class StoreFiles(FileIO):
    """The files of the table at ``location``, which lies in ``store``. ``written``: the addresses of what was put, in order."""

    def __init__(self, store: Store, location: str) -> None:
        super().__init__()
        self._store, self._location = store, canonical(location).rstrip("/")
        self.written: list[str] = []

    def new_input(self, location: str) -> InputFile:
        return _Input(self._store, self.path_of(location), location)

    def new_output(self, location: str) -> OutputFile:
        return _Output(self, location)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        self._store.delete(self.path_of(location if isinstance(location, str) else location.location))

    def path_of(self, address: str) -> str:
        """The path below the table. Raises `Unsupported` for an address that lies elsewhere."""
        stated = canonical(address)
        if not stated.startswith(f"{self._location}/"):
            raise Unsupported(f"{address}: lies outside the table ({self._location}); such a table is not written to")
        return stated[len(self._location) + 1 :]

    def put(self, address: str, data: bytes) -> None:
        """Put one file whole."""
        self._store.put(self.path_of(address), data, size=len(data))
        self.written.append(address)

    def size_of(self, address: str) -> int:
        """The size of the object at ``address``, in bytes."""
        return self._store.head(self.path_of(address)).size


class _Input(InputFile):
    """One file of metadata, read in one request: pyiceberg reads no data files here."""

    def __init__(self, store: Store, path: str, location: str) -> None:
        super().__init__(location)
        self._store, self._path = store, path

    def __len__(self) -> int:
        return self._store.head(self._path).size

    def exists(self) -> bool:
        try:
            self._store.head(self._path)
        except NotFound:
            return False
        return True

    def open(self, seekable: bool = True) -> InputStream:  # noqa: ARG002 - what is whole in memory can be sought in
        stream: Any = io.BytesIO(self._store.get(self._path))
        return stream  # type: ignore[no-any-return]


class _Output(OutputFile):
    """One file, held until it is whole."""

    def __init__(self, files: StoreFiles, location: str) -> None:
        super().__init__(location)
        self._files, self._size = files, -1

    def __len__(self) -> int:
        return self._size if self._size >= 0 else self._files.size_of(self.location)

    def exists(self) -> bool:
        return self._files.new_input(self.location).exists()

    def to_input_file(self) -> InputFile:
        return self._files.new_input(self.location)

    def create(self, overwrite: bool = False) -> OutputStream:  # noqa: ARG002 - the names hold a UUID each
        stream: Any = _Whole(self)
        return stream  # type: ignore[no-any-return]

    def arrived(self, data: bytes) -> None:
        """Everything was written."""
        self._files.put(self.location, data)
        self._size = len(data)


class HeldFile(_Output):
    """One file that is put nowhere: its bytes are ``data`` when it is whole."""

    data = b""

    def arrived(self, data: bytes) -> None:
        self.data, self._size = data, len(data)


class _Whole(io.BytesIO):
    """What is written goes to the store when it is closed; not where the writer failed."""

    def __init__(self, output: _Output) -> None:
        super().__init__()
        self._output, self._failed = output, False

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        self._failed = kind is not None
        self.close()

    def close(self) -> None:
        if not self.closed:
            data = self.getvalue()
            super().close()
            if not self._failed:
                self._output.arrived(data)
