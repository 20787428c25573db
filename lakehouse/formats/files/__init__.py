"""Plain files of any kind below one URL: the listing is the table."""

from lakehouse.formats.files.format import FilesFormat, PlainVersion

__all__ = ["FilesFormat", "PlainVersion"]
