"""Delta Lake: a table is its transaction log, ``_delta_log/``, and the files that the log names.

Read `log` (which versions there are), `replay` (what they need), `order` (in which order a replica's log appears), `format`.
"""

from lakehouse.formats.delta.format import DeltaFormat
from lakehouse.formats.delta.version import DeltaVersion

__all__ = ["DeltaFormat", "DeltaVersion"]
