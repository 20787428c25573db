"""The condition of a scan: from SQL text, as after WHERE, to an Arrow expression that is true for just those rows.

The dialect is DuckDB's, and so are the answers: NULL compares to nothing (``x NOT IN (1, NULL)`` holds for no row), NaN equals
NaN and is above all other numbers, texts compare byte by byte, and what has no zone is UTC. Constants are taken exactly
(`lakehouse.where.literals`); only for a column of floats one is the nearest float of its width.

Negations are pushed down to the comparisons. Above those, false and null need not be told apart, so the expression has plain
ANDs and ORs of comparisons, from which a reader can tell which files to skip.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from lakehouse.errors import Config, Unsupported
from lakehouse.where.comparisons import (
    HOLDS,
    ColumnValue,
    Comparison,
    comparable,
    compare,
    compare_columns,
    is_among,
    joined,
    matches,
)
from lakehouse.where.literals import Constant, kind_of, parsed

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
    from sqlglot import exp

__all__ = ["expression"]

MOST_PARTS = 1000
"""Arrow walks down an expression by calling itself once for each part, and thousands would exhaust the stack."""
_OPERATORS: dict[str, Comparison] = {"EQ": "=", "NEQ": "!=", "LT": "<", "LTE": "<=", "GT": ">", "GTE": ">="}
_NEGATED: dict[Comparison, Comparison] = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_MIRRORED: dict[Comparison, Comparison] = {"=": "=", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
_CASTS = {
    "number": "TINYINT SMALLINT INT BIGINT INT128 UTINYINT USMALLINT UINT UBIGINT UINT128 DECIMAL DOUBLE FLOAT",
    "instant": "DATE TIMESTAMP TIMESTAMPTZ TIMESTAMPNTZ TIMESTAMP_S TIMESTAMP_MS TIMESTAMP_NS DATETIME",
    "time": "TIME",
    "text": "TEXT VARCHAR CHAR",
    "binary": "VARBINARY BINARY",
    "boolean": "BOOLEAN",
    "uuid": "UUID",
}
_KINDS: dict[str, Any] = {word: kind for kind, words in _CASTS.items() for word in words.split()}


def expression(text: str, schema: pa.Schema) -> pc.Expression:
    """The Arrow expression that is true for the rows of ``schema`` for which the SQL condition ``text`` is.

    Raises `Config` for what is no condition, names no column, or compares what does not compare; `Unsupported` for SQL that a
    scan cannot carry out (functions, arithmetic, subqueries), which `lakehouse.sql` can.
    """
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        tree = sqlglot.parse_one(text, into=exp.Condition, dialect=_dialect())
    except (SqlglotError, RecursionError) as error:
        found = getattr(error, "errors", None) or [{}]
        said = found[0].get("description") or "it is nested too deep"
        raise Config(f"where: {text!r} is no SQL condition ({said}); write it as after WHERE: id > 3 AND name = 'x'") from None
    return _Condition(schema).true(tree, negated=False)


@functools.cache
def _dialect() -> Any:
    """DuckDB's, with the standard's binary constants besides."""
    from sqlglot.dialects.duckdb import DuckDB

    class Where(DuckDB):
        class Tokenizer(DuckDB.Tokenizer):
            HEX_STRINGS = [("x'", "'"), ("X'", "'")]  # noqa: RUF012 - as sqlglot has it

    return Where


class _Condition:
    """Makes expressions for the columns of one schema."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._parts = 0

    def true(self, node: exp.Expr, *, negated: bool) -> pc.Expression:
        """True for the rows for which ``node`` (``negated``: its negation) is; false or null for all others."""
        import pyarrow.compute as pc

        kind = type(node).__name__
        match kind:
            case "Paren":
                return self.true(node.this, negated=negated)
            case "Not":
                return self.true(node.this, negated=not negated)
            case "And" | "Or":
                return self._joined(list(node.flatten()), every=kind == "And", negated=negated)
            case "Boolean":
                return pc.scalar(bool(node.this) != negated)
            case "Null":
                return pc.scalar(False)
            case "Column" | "Dot":
                return compare("=", self._column(node), Constant("boolean", not negated, str(not negated).upper()))
            case "EQ" | "NEQ" | "LT" | "LTE" | "GT" | "GTE":
                operator = _OPERATORS[kind]
                return self._compared(_NEGATED[operator] if negated else operator, node.this, node.expression)
            case "Is" | "NullSafeEQ" | "NullSafeNEQ":
                return self._distinct(node.this, node.expression, equal=(kind == "NullSafeNEQ") == negated)
            case "Between":
                return self._between(node, negated)
            case "In":
                return self._in(node, negated)
            case "Like" | "ILike" | "Escape":
                return self._like(node, negated)
        raise _unsupported(node)

    def _joined(self, nodes: list[exp.Expr], *, every: bool, negated: bool) -> pc.Expression:
        """AND (``every``) or OR. Alternatives for one column are one set, however many there are."""
        parts: list[pc.Expression] = []
        equal: dict[str, tuple[ColumnValue, list[Constant]]] = {}
        for node in nodes:
            sides = (self._operand(node.this), self._operand(node.expression)) if type(node).__name__ == "EQ" else ()
            if not every and not negated and sides and isinstance(sides[0], ColumnValue) and isinstance(sides[1], Constant):
                equal.setdefault(sides[0].name, (sides[0], []))[1].append(sides[1])
            else:
                parts.append(self.true(node, negated=negated))
        parts += [is_among(column, constants) for column, constants in equal.values()]
        self._parts += len(parts)
        if self._parts > MOST_PARTS:
            raise Unsupported(f"where: has more than {MOST_PARTS} parts; write column IN (…), or use lakehouse.sql()")
        return joined(parts, every=every != negated)

    def _compared(self, operator: Comparison, left: exp.Expr, right: exp.Expr) -> pc.Expression:
        import pyarrow.compute as pc

        one, other = self._operand(left), self._operand(right)
        if isinstance(one, ColumnValue):
            return compare(operator, one, other) if isinstance(other, Constant) else compare_columns(operator, one, other)
        if isinstance(other, ColumnValue):
            return compare(_MIRRORED[operator], other, one)
        if "null" in (one.kind, other.kind):
            return pc.scalar(False)
        if one.kind != other.kind:
            raise Config(f"where: {one.shown} does not compare to {other.shown} (a {one.kind} and a {other.kind})")
        return pc.scalar(bool(HOLDS[operator](one.value, other.value)))

    def _distinct(self, left: exp.Expr, right: exp.Expr, *, equal: bool) -> pc.Expression:
        """IS [NOT] NULL, TRUE and FALSE, IS [NOT] DISTINCT FROM: null is a value like others."""
        one, other = self._operand(left), self._operand(right)
        if isinstance(one, Constant):
            one, other = other, one
        if isinstance(one, Constant) or isinstance(other, ColumnValue):
            raise _unsupported(left)
        if other.kind == "null":
            return one.field.is_null() if equal else one.field.is_valid()
        same = compare("=" if equal else "!=", one, other)
        return same if equal else same | one.field.is_null()

    def _between(self, node: exp.Expr, negated: bool) -> pc.Expression:
        low, high = node.args["low"], node.args["high"]
        if node.args.get("symmetric"):
            raise _unsupported(node)
        if negated:
            return self._compared("<", node.this, low) | self._compared(">", node.this, high)
        return self._compared(">=", node.this, low) & self._compared("<=", node.this, high)

    def _in(self, node: exp.Expr, negated: bool) -> pc.Expression:
        import pyarrow.compute as pc

        if node.args.get("query") or node.args.get("unnest") or node.args.get("field"):
            raise _unsupported(node)
        operands = [self._operand(node.this), *(self._operand(value) for value in node.expressions)]
        column, values = operands[0], [value for value in operands[1:] if isinstance(value, Constant)]
        if isinstance(column, Constant) or len(values) + 1 < len(operands):
            raise _unsupported(node)
        found = is_among(column, values)
        if not negated:
            return found
        return pc.scalar(False) if any(value.kind == "null" for value in values) else column.field.is_valid() & ~found

    def _like(self, node: exp.Expr, negated: bool) -> pc.Expression:
        escape = None
        if type(node).__name__ == "Escape":
            written = self._operand(node.expression)
            if not isinstance(written, Constant) or written.kind != "text" or len(str(written.value)) > 1:
                raise _unsupported(node)
            node, escape = node.this, str(written.value) or None
        column, pattern = self._operand(node.this), self._operand(node.expression)
        kind = type(node).__name__
        if kind not in ("Like", "ILike") or not (isinstance(column, ColumnValue) and isinstance(pattern, Constant)):
            raise _unsupported(node)
        if kind_of(column.type) != "text" or pattern.kind not in ("text", "null"):
            raise Config(f"where: column {column.name} is {column.stored}; LIKE is for texts")
        if pattern.kind == "null":
            return pc.scalar(False)
        negated = negated != bool(node.args.get("negate"))
        return matches(column, str(pattern.value), escape, any_case=kind == "ILike", negated=negated)

    def _operand(self, node: exp.Expr) -> ColumnValue | Constant:
        match type(node).__name__:
            case "Paren":
                return self._operand(node.this)
            case "Column" | "Dot":
                return self._column(node)
            case "Literal":
                return Constant("text", node.this, f"'{node.this}'") if node.is_string else _number(node.this)
            case "Null":
                return Constant("null", None, "NULL")
            case "Boolean":
                return Constant("boolean", bool(node.this), str(node.this).upper())
            case "HexString":
                return Constant("binary", _hexadecimal(str(node.this)), f"X'{node.this}'")
            case "Neg":
                inner = self._operand(node.this)
                if isinstance(inner, Constant) and isinstance(inner.value, Fraction | float):
                    return Constant("number", -inner.value, f"-{inner.shown}")
            case "Cast":
                return self._cast(node)
        raise _unsupported(node)

    def _cast(self, node: exp.Expr) -> Constant:
        """A constant with a type: ``DATE '2024-01-31'``, ``'5'::INTEGER``. Its kind counts; widths and scales do not."""
        inner, kind = self._operand(node.this), _KINDS.get(node.args["to"].this.name)
        if not isinstance(inner, Constant) or kind is None:
            raise _unsupported(node)
        if inner.kind in (kind, "null"):
            return inner
        if inner.kind != "text":
            raise _unsupported(node)
        return parsed(str(inner.value), kind)

    def _column(self, node: exp.Expr) -> ColumnValue:
        """The column, or the field inside of one, that ``node`` names. A name counts as written, else in another case."""
        import pyarrow as pa
        import pyarrow.compute as pc

        path = list(_parts(node))
        found, kind = list[str](), pa.struct(list(self._schema))
        for depth, name in enumerate(path):
            names = [kind.field(index).name for index in range(kind.num_fields)] if pa.types.is_struct(kind) else []
            if not names:
                raise Config(f"where: {'.'.join(found)} is {kind}; it has no fields (in {'.'.join(path)})")
            found.append(_named(name, names, ".".join(path[: depth + 1])))
            kind = kind.field(names.index(found[-1])).type
        reference = pc.field(*found)
        compared = comparable(kind)
        value = reference if compared == kind else reference.cast(compared)
        return ColumnValue(".".join(found), kind, compared, value, reference)


def _number(text: str) -> Constant:
    """The number that SQL text spells."""
    constant = parsed(text, "number")
    return Constant("number", constant.value, text)


def _parts(node: exp.Expr) -> Iterator[str]:
    """The names of ``a.b.c``."""
    if type(node).__name__ == "Dot":
        yield from _parts(node.this)
        yield from _parts(node.expression)
    elif type(node).__name__ == "Column":
        yield from (str(node.args[part].this) for part in ("catalog", "db", "table", "this") if node.args.get(part))
    elif type(node).__name__ == "Identifier":
        yield str(node.this)
    else:
        raise _unsupported(node)


def _named(name: str, names: list[str], shown: str) -> str:
    if names.count(name) == 1:
        return name
    alike = [other for other in names if other.lower() == name.lower()]
    if len(alike) == 1:
        return alike[0]
    if alike:
        raise Config(f"where: several columns are called {shown} ({', '.join(alike)})")
    near = difflib.get_close_matches(name, names, 1) or difflib.get_close_matches(name.lower(), names, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names[:20])}{', …' if len(names) > 20 else ''}"
    raise Config(f"where: there is no column {shown}; {hint} (texts are written in single quotes)")


def _hexadecimal(digits: str) -> bytes:
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise Config(f"where: X'{digits}' is no binary constant; write two hexadecimal digits a byte") from None


def _unsupported(node: exp.Expr) -> Unsupported:
    """What a scan cannot do, by the words of the condition itself."""
    return Unsupported(
        f"where: {node.sql(dialect='duckdb')} is more than a scan can do, which compares columns to constants and to each other; "
        "lakehouse.sql() and lake query can"
    )
