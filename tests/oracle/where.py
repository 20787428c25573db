"""Random SQL conditions on columns, and whether each holds for a row, in three-valued logic."""

from __future__ import annotations

import operator as operators
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

from tests.oracle.kinds import KINDS, Row, literal, same

__all__ = ["Condition", "random_condition"]

Truth = bool | None


class Condition(NamedTuple):
    """``holds``: None is SQL's NULL."""

    sql: str
    holds: Callable[[Row], Truth]

    def of(self, rows: list[Row]) -> list[Row]:
        """The rows for which it is true."""
        return [row for row in rows if self.holds(row) is True]


_ORDERS: dict[str, Callable[[Any, Any], bool]] = {"<": operators.lt, "<=": operators.le, ">": operators.gt, ">=": operators.ge}


def _rank(value: Any) -> Any:
    """NaN is above all other numbers; text is compared as its bytes are."""
    if isinstance(value, float):
        return (1, 0.0) if value != value else (0, value)
    if isinstance(value, str):
        return value.encode()
    return (0, value) if isinstance(value, int) and not isinstance(value, bool) else value


def _compared(sign: str, one: Any, other: Any) -> Truth:
    if one is None or other is None:
        return None
    if sign in ("=", "<>"):
        return same(one, other) is (sign == "=")
    if isinstance(one, int | float) != isinstance(other, int | float):
        return _ORDERS[sign](one, other) if one == one else sign in (">", ">=")  # a number and a decimal
    return _ORDERS[sign](_rank(one), _rank(other))


def _not(truth: Truth) -> Truth:
    return None if truth is None else not truth


def _any(truths: list[Truth]) -> Truth:
    return True if True in truths else None if None in truths else False


def _constant(chance: Random, column: str, kind: str, rows: Sequence[Row]) -> tuple[str, Any]:
    """Most often a value of a row, the lowest or the highest at that: a bound that is too narrow shows there."""
    values = sorted((row[column] for row in rows if row[column] is not None), key=_rank)
    value = chance.choice([values[0], values[-1], chance.choice(values)]) if values and chance.random() < 0.75 else None
    return (literal(value), value) if value is not None else chance.choice([*KINDS[kind].literals, ("NULL", None)])


def _comparison(chance: Random, column: str, kind: str, rows: Sequence[Row]) -> Condition:
    name = '"' + column + '"'
    text, value = _constant(chance, column, kind, rows)
    other_text, other = _constant(chance, column, kind, rows)
    match chance.randrange(9):
        case 0:
            return Condition(f"{name} IS NULL", lambda row: row[column] is None)
        case 1:
            return Condition(f"{name} IS NOT NULL", lambda row: row[column] is not None)
        case 2:
            inside: list[tuple[str, Any]] = [(text, value), (other_text, other)]
            words = "NOT IN" if (negated := chance.random() < 0.5) else "IN"

            def among(row: Row) -> Truth:
                found = _any([_compared("=", row[column], each) for _, each in inside])
                return _not(found) if negated else found

            return Condition(f"{name} {words} ({', '.join(each for each, _ in inside)})", among)
        case 3:

            def between(row: Row) -> Truth:
                return _not(_any([_not(_compared(">=", row[column], value)), _not(_compared("<=", row[column], other))]))

            return Condition(f"{name} BETWEEN {text} AND {other_text}", between)
        case 4 if kind == "string":

            def begins(row: Row) -> Truth:
                return None if row[column] is None else row[column].startswith("a")

            return Condition(f"{name} LIKE 'a%'", begins)
    sign = chance.choice(["=", "<>", "<", "<=", ">", ">="])
    return Condition(f"{name} {sign} {text}", lambda row: _compared(sign, row[column], value))


def random_condition(chance: Random, columns: Mapping[str, str], rows: Sequence[Row], depth: int = 2) -> Condition:
    """A condition on some of ``columns`` (name to kind), which more often than not has values of ``rows``."""
    if depth == 0 or chance.random() < 0.6:
        column = chance.choice(sorted(columns))
        return _comparison(chance, column, columns[column], rows)
    one = random_condition(chance, columns, rows, depth - 1)
    if chance.random() < 0.3:
        return Condition(f"NOT ({one.sql})", lambda row: _not(one.holds(row)))
    other = random_condition(chance, columns, rows, depth - 1)
    if chance.random() < 0.5:
        return Condition(f"({one.sql} OR {other.sql})", lambda row: _any([one.holds(row), other.holds(row)]))
    return Condition(f"({one.sql} AND {other.sql})", lambda row: _not(_any([_not(one.holds(row)), _not(other.holds(row))])))
