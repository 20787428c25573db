"""Avro as Iceberg's manifests need it: files are taken apart and put together again with everything kept that is not changed.

`container` reads and writes the object container file (header, blocks, codecs); `nodes` and `nested` have one class a
type of the specification; `walker` finds the wanted fields of every record in a block, so that only those are replaced.
"""

from lakehouse.formats.iceberg.avro.container import Block, Header, read_container, same_content, write_container
from lakehouse.formats.iceberg.avro.walker import ABSENT, Walker, compile_walker

__all__ = ["ABSENT", "Block", "Header", "Walker", "compile_walker", "read_container", "same_content", "write_container"]
