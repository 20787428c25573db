"""Filters that are comparisons of columns with constants, all of which must hold: the commonest, taken apart.

Arrow does not tell what an expression is made of. Its text does for the plainest, and since what was understood of the text is
made into an expression again, and that must equal the one given, nothing is ever understood wrongly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

__all__ = ["Comparison", "comparable", "conjunction"]

Operator = Literal["==", "<", "<=", ">", ">="]

MOST = 32
"""Comparisons of one filter; one that has more is not taken apart."""

_REST = re.compile(r' (==|<=|>=|<|>) ("[^"\\]*"|[^\s()"]+(?: [0-9:.]+Z?)?)\)')


@dataclass(frozen=True, slots=True)
class Comparison:
    """``value``: of the constant, as `comparable` gives those of the column."""

    operator: Operator
    value: Any

    def may_hold(self, lower: Any, upper: Any) -> bool:
        """Whether it may hold of a value that is not below ``lower`` nor above ``upper`` (None: not known)."""
        operator, value = self.operator, self.value
        if lower is not None and operator in ("==", "<", "<=") and (lower > value or (lower == value and operator == "<")):
            return False
        return upper is None or operator in ("<", "<=") or upper > value or (upper == value and operator != ">")


def comparable(scalar: pa.Scalar) -> Any:
    """A Python value that compares as the scalars of its type do; None for NaN and null."""
    value = scalar.value if hasattr(scalar, "value") else scalar.as_py()  # of times a number: not all are Python's
    return value if value == value else None


def conjunction(filter: pc.Expression, schema: pa.Schema) -> Mapping[str, Sequence[Comparison]] | None:
    """The comparisons that ``filter`` is, by the names of their columns; None where it is more than that."""
    import pyarrow as pa

    text = str(filter)
    if text.count("(") >= 2 * MOST:  # each comparison has one, and each `and` between two
        return None
    for widest in (False, True):  # constants are of the column's type, or as Python's numbers become
        reader = _Reader(text, schema, widest)
        try:
            made = reader.expression()
        except (ValueError, KeyError, pa.ArrowException):
            continue
        if reader.at == len(text) and made.equals(filter):
            return reader.found
    return None


class _Reader:
    """Reads ``((a < 1) and (b == "x"))``. Raises `ValueError`, or what Arrow raises, for any other text."""

    def __init__(self, text: str, schema: pa.Schema, widest: bool) -> None:
        self._text, self._schema, self._widest = text, schema, widest
        names = sorted(schema.names, key=len, reverse=True)
        self._name = re.compile(r"\((" + "|".join(map(re.escape, names)) + ")(?= )")
        self.at = 0
        self.found: dict[str, list[Comparison]] = {}

    def expression(self) -> pc.Expression:
        name = self._name.match(self._text, self.at)
        rest = _REST.match(self._text, name.end()) if name is not None else None
        if name is not None and rest is not None:
            self.at = rest.end()
            return self._comparison(name[1], rest[1], rest[2])
        self._skip("(")
        left = self.expression()
        self._skip(" and ")
        right = self.expression()
        self._skip(")")
        return left & right

    def _skip(self, text: str) -> None:
        if not self._text.startswith(text, self.at):
            raise ValueError(f"no {text!r} at {self.at}")
        self.at += len(text)

    def _comparison(self, name: str, operator: str, written: str) -> pc.Expression:
        import pyarrow as pa
        import pyarrow.compute as pc

        kind = _constant_type(self._schema.field(name).type, self._widest)
        text = written[1:-1] if written.startswith('"') else written
        if written.startswith('"') != pa.types.is_string(kind):
            raise ValueError(f"{written} is no {kind}")
        constant = pa.scalar(text, pa.string()).cast(kind)
        value = comparable(constant)
        if value is None:
            raise ValueError(f"{written} compares with nothing")
        self.found.setdefault(name, []).append(Comparison(cast("Operator", operator), value))
        column = pc.field(name)
        made = {"==": column == constant, "<": column < constant, "<=": column <= constant, ">": column > constant}
        return made.get(operator, column >= constant)


def _constant_type(kind: pa.DataType, widest: bool) -> pa.DataType:
    """The type of constants that compare with a column as Python's numbers and text do."""
    import pyarrow as pa
    import pyarrow.types as t

    if t.is_signed_integer(kind):
        return pa.int64() if widest else kind
    if t.is_float32(kind) or t.is_float64(kind):
        return pa.float64() if widest else kind
    if t.is_string(kind) or t.is_date32(kind) or t.is_timestamp(kind) or t.is_decimal(kind):
        return kind
    raise ValueError(f"constants of {kind} are not read")
