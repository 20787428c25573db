"""The condition of a scan, from SQL text to an Arrow expression: `condition` reads the text, `comparisons` makes the expressions,
`literals` has the constants."""

from __future__ import annotations

from lakehouse.where.condition import expression

__all__ = ["expression"]
