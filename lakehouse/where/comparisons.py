"""Comparisons of columns, as Arrow expressions with the answers of DuckDB.

Each is true for the rows for which the comparison holds, and false or null for all others. NaN equals NaN and is above all other
numbers. A constant is never rounded to a column's type, but for columns of floats, where the nearest float counts.
"""

from __future__ import annotations

import operator as operators
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Literal

from lakehouse.errors import Config, Unsupported
from lakehouse.reading.prefix import text_after
from lakehouse.where.literals import Constant, Grid, adapted, grid_of, kind_of

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

__all__ = ["HOLDS", "ColumnValue", "Comparison", "comparable", "compare", "compare_columns", "is_among", "joined", "matches"]

Comparison = Literal["=", "!=", "<", "<=", ">", ">="]
HOLDS: dict[Comparison, Callable[[Any, Any], Any]] = {
    "=": operators.eq, "!=": operators.ne, "<": operators.lt, "<=": operators.le, ">": operators.gt, ">=": operators.ge,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ColumnValue:
    """A column, or a field inside of one, by ``name``. ``stored``: its type. ``value``: it as ``type``, which Arrow compares."""

    name: str
    stored: pa.DataType
    type: pa.DataType
    value: pc.Expression
    field: pc.Expression


def joined(parts: Sequence[pc.Expression], *, every: bool) -> pc.Expression:
    """AND (``every``) or OR of all ``parts``, as a tree that is no deeper than need be."""
    if len(parts) == 1:
        return parts[0]
    left, right = joined(parts[: len(parts) // 2], every=every), joined(parts[len(parts) // 2 :], every=every)
    return left & right if every else left | right


def compare(operator: Comparison, column: ColumnValue, constant: Constant) -> pc.Expression:
    """``column operator constant``. Raises `Config` where the two do not compare."""
    import pyarrow as pa
    import pyarrow.compute as pc

    constant = adapted(constant, column.name, column.stored)
    if constant.kind == "null" or pa.types.is_null(column.type):
        return pc.scalar(False)
    grid = grid_of(column.type)
    if grid is not None:
        return _on_grid(operator, column.value, grid, constant)
    if pa.types.is_floating(column.type):
        return _on_floats(operator, column, constant)
    return HOLDS[operator](column.value, pa.scalar(constant.value, column.type))


def is_among(column: ColumnValue, constants: Sequence[Constant]) -> pc.Expression:
    """``column IN (constants)``, of which nulls are left out. Raises `Config` as `compare`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = [adapted(constant, column.name, column.stored) for constant in constants]
    values = [value for value in values if value.kind != "null"]
    if pa.types.is_null(column.type) or not values:
        return pc.scalar(False)
    if pa.types.is_floating(column.type):  # a set of floats tells 0.0 from -0.0
        return joined([compare("=", column, value) for value in values], every=False)
    scalars = [scalar for value in values if (scalar := _scalar(column.type, value)) is not None]
    return column.value.isin(pa.array(scalars, column.type)) if scalars else pc.scalar(False)


def compare_columns(operator: Comparison, left: ColumnValue, right: ColumnValue) -> pc.Expression:
    """``left operator right``. Raises `Config` for columns that do not compare, `Unsupported` for times of two units, which Arrow
    could not bring together without loss.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    one, other = kind_of(left.type), kind_of(right.type)
    if one is None or other is None or (one != other and "null" not in (one, other)):
        raise Config(f"where: columns {left.name} ({left.stored}) and {right.name} ({right.stored}) do not compare")
    if "null" in (one, other):
        return pc.scalar(False)
    a, b = left.value, right.value
    if one == "number":
        return _numbers(operator, left, right)
    if left.type == right.type:
        return HOLDS[operator](a, b)
    if one == "text" or one == "binary":
        wider = pa.large_string() if one == "text" else pa.large_binary()
        return HOLDS[operator](a.cast(wider), b.cast(wider))
    units = {kind.unit for kind in (left.type, right.type) if not pa.types.is_date(kind)} or {"us"}
    if len(units) > 1 or (units == {"ns"} and any(pa.types.is_date(kind) for kind in (left.type, right.type))):
        raise Unsupported(
            f"where: columns {left.name} ({left.stored}) and {right.name} ({right.stored}) count time in two units; "
            "lakehouse.sql() compares them"
        )
    common = pa.timestamp(units.pop(), "UTC")
    return HOLDS[operator](_zoned(a, left.type, common), _zoned(b, right.type, common))


def _zoned(value: pc.Expression, kind: pa.DataType, common: pa.DataType) -> pc.Expression:
    import pyarrow as pa

    return value.cast(pa.timestamp(common.unit)).cast(common) if pa.types.is_date(kind) else value.cast(common)


def _numbers(operator: Comparison, left: ColumnValue, right: ColumnValue) -> pc.Expression:
    """Two columns of numbers: as floats where one holds floats, else exactly."""
    import pyarrow as pa
    import pyarrow.types as t

    a, b = left.value, right.value
    if not (t.is_floating(left.type) or t.is_floating(right.type)):
        if t.is_integer(left.type) and t.is_integer(right.type) and left.type != right.type:
            wide = pa.decimal128(20, 0)
            a, b = a.cast(wide), b.cast(wide)
        return HOLDS[operator](a, b)
    a, b = (
        value if kind == pa.float64() else value.cast(pa.float64(), safe=False)
        for value, kind in ((a, left.type), (b, right.type))
    )
    plain, nan, other_nan = HOLDS[operator](a, b), _is_nan(a), _is_nan(b)
    match operator:
        case "=":
            return plain | (nan & other_nan)
        case "!=":
            return plain & ~(nan & other_nan)
        case "<":
            return plain | (other_nan & ~nan)
        case ">":
            return plain | (nan & ~other_nan)
        case "<=":
            return plain | (other_nan & a.is_valid())
        case ">=":
            return plain | (nan & b.is_valid())


def _is_nan(value: pc.Expression) -> pc.Expression:
    import pyarrow.compute as pc

    return pc.is_nan(value)  # pyright: ignore[reportAttributeAccessIssue] - Arrow makes its functions at import


def matches(column: ColumnValue, pattern: str, escape: str | None, *, any_case: bool, negated: bool) -> pc.Expression:
    """``column [NOT] LIKE pattern``: ``%`` is any text, ``_`` any one character. Without an ``escape`` none has another meaning.

    A constant beginning is said as a range besides, from which files can be skipped. Raises `Config` for a pattern that ends in
    its escape.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    letters = _letters(pattern, escape)
    regex = "".join({"%": ".*", "_": "."}.get(letter, re.escape(letter[1:])) for letter in letters)
    found = pc.match_substring_regex(column.value, rf"(?s)\A{regex}\z", ignore_case=any_case)  # pyright: ignore[reportAttributeAccessIssue]
    if negated:
        return ~found
    beginning = "".join(letter[1:] for letter in takewhile(lambda letter: letter not in "%_", letters))
    if any_case or not beginning:
        return found
    found &= column.value >= pa.scalar(beginning, column.type)
    after = text_after(beginning)
    return found & (column.value < pa.scalar(after, column.type)) if after is not None else found


def _letters(pattern: str, escape: str | None) -> list[str]:
    """``%`` and ``_`` as they are, any other character after a backslash."""
    found, letters = list[str](), iter(pattern)
    for letter in letters:
        if letter == escape:
            following = next(letters, None)
            if following is None:
                raise Config(f"where: LIKE '{pattern}' ends in its escape character")
            found.append("\\" + following)
        else:
            found.append(letter if letter in "%_" else "\\" + letter)
    return found


def comparable(kind: pa.DataType) -> pa.DataType:
    """The type in which Arrow compares values of ``kind``, and finds them in a set."""
    import pyarrow as pa
    import pyarrow.types as t

    if t.is_dictionary(kind):
        return comparable(kind.value_type)
    if t.is_string_view(kind):
        return pa.large_string()
    if getattr(kind, "extension_name", "") == "arrow.json":
        return comparable(kind.storage_type)
    if t.is_fixed_size_binary(kind) or t.is_binary_view(kind) or kind_of(kind) == "uuid":
        return pa.large_binary() if t.is_binary_view(kind) else pa.binary()
    if t.is_float16(kind):
        return pa.float32()
    if t.is_decimal32(kind) or t.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    return kind


def _on_grid(operator: Comparison, value: pc.Expression, grid: Grid, constant: Constant) -> pc.Expression:
    """A comparison with a type whose values are whole numbers of a step: never rounded, never out of its range."""
    import pyarrow.compute as pc

    if isinstance(constant.value, float):  # NaN, which is above all numbers, or an infinity
        above = constant.value != float("-inf")
        return (
            value.is_valid() if operator == "!=" or ((operator in ("<", "<=")) == above and operator != "=") else pc.scalar(False)
        )
    if not isinstance(constant.value, Fraction | int):
        raise TypeError(f"no number: {constant}")
    steps = Fraction(constant.value) / grid.step
    floor = steps.numerator // steps.denominator
    exact = floor == steps
    if exact and grid.low <= floor <= grid.high:
        return HOLDS[operator](value, grid.scalar(floor))
    if operator in ("=", "!="):
        return pc.scalar(False) if operator == "=" else value.is_valid()
    if operator in ("<", "<="):
        most = floor - 1 if exact and operator == "<" else floor
        if not grid.low <= most < grid.high:
            return pc.scalar(False) if most < grid.low else value.is_valid()
        return value <= grid.scalar(most)
    least = floor if exact and operator == ">=" else floor + 1
    if not grid.low < least <= grid.high:
        return pc.scalar(False) if least > grid.high else value.is_valid()
    return value >= grid.scalar(least)


def _on_floats(operator: Comparison, column: ColumnValue, constant: Constant) -> pc.Expression:
    """A comparison with a column of floats, in which NaN equals NaN and is above all other numbers."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if not isinstance(constant.value, Fraction | float | int):
        raise TypeError(f"no number: {constant}")
    number = _as_float(constant.value)
    if pa.types.is_float32(column.type):
        with np.errstate(over="ignore"):
            number = float(np.float32(number))
    value, nan = column.value, _is_nan(column.value)
    if number != number:
        always, never = value.is_valid(), pc.scalar(False)
        return {"=": nan, ">=": nan, "!=": always & ~nan, "<": always & ~nan, "<=": always, ">": never}[operator]
    plain = HOLDS[operator](value, pa.scalar(number, column.type))
    return plain | nan if operator in (">", ">=") else plain


def _as_float(value: Fraction | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _scalar(kind: pa.DataType, constant: Constant) -> pa.Scalar | None:
    """``constant`` as a value of ``kind``; None where no value equals it."""
    import pyarrow as pa

    grid = grid_of(kind)
    if grid is None:
        return pa.scalar(constant.value, kind)
    if not isinstance(constant.value, Fraction | int):
        return None
    steps = Fraction(constant.value) / grid.step
    return grid.scalar(steps.numerator) if steps.denominator == 1 and grid.low <= steps.numerator <= grid.high else None
