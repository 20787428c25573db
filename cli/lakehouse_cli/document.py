"""What the documents that ``--json`` prints have in common. The documents themselves are in `lakehouse_cli.schemas`."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict

from lakehouse_cli.output import shown

__all__ = ["Document", "Model", "Shown", "Text"]

SCHEMA_VERSION: Final = 1


def _encodable(value: object) -> object:
    """Names of local files need not be Unicode; JSON must be."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_encodable)]
Shown = Annotated[Text | None, BeforeValidator(lambda value: None if value is None else shown(value))]


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True, extra="forbid")


class Document(Model):
    """What every document has. ``ok`` is true exactly when ``exit_code`` is 0."""

    schema_version: Literal[1] = SCHEMA_VERSION
    command: str
    ok: bool
    exit_code: int

    @classmethod
    def of(cls, value: object, *, exit_code: int = 0, **fields: object) -> Self:
        """The document of a result: its attributes by name, but for those given as ``fields``."""
        common = Document.model_fields
        wanted = [name for name, field in cls.model_fields.items() if field.is_required() and name not in (*common, *fields)]
        found = {name: getattr(value, name) for name in wanted}
        return cls.model_validate({"ok": exit_code == 0, "exit_code": exit_code, **found, **fields})
