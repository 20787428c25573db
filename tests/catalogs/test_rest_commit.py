"""The commit of a REST catalog, against the specification's own account of what each update does."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.errors import Unsupported
from lakehouse.testing.catalog_suite import table_metadata
from lakehouse_connectors.catalogs.rest_commit import commit_request, differences
from tests.catalogs.rest_model import committed

Json = dict[str, Any]
IDENTIFIER = {"namespace": ["ns"], "name": "t"}
UUID = "0b1ac8e5-196b-4000-8000-000000000001"


def history(snapshots: int) -> Json:
    return table_metadata("s3://bucket/t", snapshots, table_uuid=UUID)


ALL = history(9)
SCHEMAS = [
    {
        "type": "struct", "schema-id": number,
        "fields": [{"id": at + 1, "name": f"c{at}", "required": False, "type": "long"} for at in range(number + 1)],
    }
    for number in range(5)
]  # fmt: skip


@st.composite
def states(draw: st.DrawFn, at_least: int = 0, schemas: int = 1) -> tuple[Json, int, int]:
    """A table as it may stand after some of one source's history: with how many snapshots and schemas it began."""
    newest = draw(st.integers(at_least, 9))
    begin = draw(st.integers(0, newest))
    kept = ALL["snapshots"][begin:newest]
    count = draw(st.integers(schemas, 5))
    ids = [snapshot["snapshot-id"] for snapshot in kept]
    names = draw(st.lists(st.sampled_from(["main", "audit", "tag-1", "tag 2"]), unique=True)) if ids else []
    refs = {
        name: {"snapshot-id": draw(st.sampled_from(ids)), "type": "branch" if name in ("main", "audit") else "tag"}
        for name in names
    }
    state = {
        **copy.deepcopy(ALL),
        "last-sequence-number": newest,
        "snapshots": kept,
        "refs": refs,
        "current-snapshot-id": refs.get("main", {"snapshot-id": -1})["snapshot-id"],
        "schemas": SCHEMAS[:count],
        "current-schema-id": draw(st.integers(0, count - 1)),
        "last-column-id": count,
        "properties": draw(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sampled_from(["1", "2"]))),
        "statistics": [
            {"snapshot-id": one, "statistics-path": f"s3://bucket/{draw(st.integers(0, 1))}"}
            for one in ids
            if draw(st.booleans())
        ],
    }
    return state, newest, count


@st.composite
def steps(draw: st.DrawFn) -> tuple[Json, Json]:
    """Two points of one table's history, in order."""
    before, newest, count = draw(states())
    after, _, _ = draw(states(at_least=newest, schemas=count))
    known = {snapshot["snapshot-id"] for snapshot in before["snapshots"]}
    oldest = newest - len(before["snapshots"])
    after["snapshots"] = [  # what was expired does not come back
        one for one in after["snapshots"] if one["snapshot-id"] in known or one["sequence-number"] > max(oldest, newest)
    ]
    left = {one["snapshot-id"] for one in after["snapshots"]}
    after["refs"] = {name: ref for name, ref in after["refs"].items() if ref["snapshot-id"] in left}
    after["current-snapshot-id"] = after["refs"].get("main", {"snapshot-id": -1})["snapshot-id"]
    after["statistics"] = [one for one in after["statistics"] if one["snapshot-id"] in left]
    return before, after


@given(steps())
def test_after_the_commit_the_table_is_what_was_wanted(step: tuple[Json, Json]) -> None:
    before, after = step
    found = committed(before, commit_request(IDENTIFIER, before, after)["updates"])
    assert differences(found, after) == []
    assert found["properties"] == after["properties"]
    order = [entry["snapshot-id"] for entry in after["snapshots"]]
    stated = {entry["snapshot-id"]: entry for entry in found.get("statistics", []) if entry["snapshot-id"] in order}
    assert stated == {entry["snapshot-id"]: entry for entry in after["statistics"]}


@given(steps())
def test_the_table_and_every_ref_are_asserted(step: tuple[Json, Json]) -> None:
    """Trap Iceberg 14: a commit in between makes ours fail as a whole."""
    before, after = step
    requirements = commit_request(IDENTIFIER, before, after)["requirements"]
    assert {"type": "assert-table-uuid", "uuid": UUID} in requirements
    asserted = {one["ref"]: one["snapshot-id"] for one in requirements if one["type"] == "assert-ref-snapshot-id"}
    names = {*before["refs"], *after["refs"], "main"}
    assert asserted == {name: before["refs"].get(name, {"snapshot-id": None})["snapshot-id"] for name in names}


@given(states())
def test_nothing_is_sent_for_what_is_the_same(state: tuple[Json, int, int]) -> None:
    assert commit_request(IDENTIFIER, state[0], copy.deepcopy(state[0]))["updates"] == []


def test_unknown_keys_of_a_snapshot_and_a_schema_are_sent_as_they_are() -> None:
    before, after = history(1), history(2)
    after["snapshots"] = [before["snapshots"][0], {**after["snapshots"][1], "x-vendor": {"a": [1]}}]
    after["schemas"] = [before["schemas"][0], {**SCHEMAS[1], "x-vendor": 1}]
    updates = commit_request(IDENTIFIER, before, after)["updates"]
    assert [one["snapshot"]["x-vendor"] for one in updates if one["action"] == "add-snapshot"] == [{"a": [1]}]
    assert [one["schema"]["x-vendor"] for one in updates if one["action"] == "add-schema"] == [1]


def test_the_name_mapping_is_stated_again_when_a_schema_is_added_since_servers_change_it() -> None:
    mapping = {"schema.name-mapping.default": "[]"}
    before, after = {**history(1), "properties": mapping}, {**history(1), "properties": mapping}
    after = {**after, "schemas": SCHEMAS[:2], "snapshots": before["snapshots"]}
    before = {**before, "schemas": SCHEMAS[:1]}
    assert commit_request(IDENTIFIER, before, after)["updates"][-1] == {"action": "set-properties", "updates": mapping}


def test_format_version_1_is_upgraded_and_its_older_spellings_are_read() -> None:
    after = history(1)
    before = {
        "format-version": 1, "table-uuid": UUID, "location": "s3://bucket/t", "last-column-id": 1, "partition-spec": [],
        "schema": {key: value for key, value in after["schemas"][0].items() if key != "schema-id"},
        "properties": {"owner": "suite"},
    }  # fmt: skip
    request = commit_request(IDENTIFIER, before, after)
    assert [one["action"] for one in request["updates"]] == ["upgrade-format-version", "add-snapshot", "set-snapshot-ref"]
    with pytest.raises(Unsupported, match="format version 2 back to 1"):
        commit_request(IDENTIFIER, after, before)


REFUSED: dict[str, tuple[Json, str]] = {
    "another table": ({"table-uuid": "other"}, "cannot make the table"),
    "a schema changed under its id": ({"schemas": [{**SCHEMAS[2], "schema-id": 0}]}, "schema 0"),
    "a schema of an id that the catalog would not give": (
        {"schemas": [ALL["schemas"][0], {**SCHEMAS[2], "schema-id": 7}]},
        "id 7",
    ),
    "a schema equal to another": ({"schemas": [ALL["schemas"][0], {**ALL["schemas"][0], "schema-id": 1}]}, "beside an equal one"),
    "a partition spec of another id": ({"partition-specs": [*ALL["partition-specs"], {"spec-id": 5, "fields": [{}]}]}, "id 5"),
    "a sort order that is gone": ({"sort-orders": [{"order-id": 0, "fields": []}]}, "remove the sort orders"),
    "a snapshot changed under its id": (
        {"snapshots": [{**ALL["snapshots"][0], "manifest-list": "s3://elsewhere"}, ALL["snapshots"][1]]},
        "change the snapshot",
    ),
    "a snapshot of an old sequence number": (
        {"snapshots": [*ALL["snapshots"][:2], {**ALL["snapshots"][2], "sequence-number": 1}]},
        "sequence number 1",
    ),
    "a snapshot without a manifest list": (
        {
            "snapshots": [
                *ALL["snapshots"][:2],
                {key: value for key, value in ALL["snapshots"][2].items() if key != "manifest-list"},
            ]
        },
        "no manifest list",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_commit_cannot_express_is_refused_by_name(what: str) -> None:
    changes, words = REFUSED[what]
    before = {**copy.deepcopy(ALL), "snapshots": ALL["snapshots"][:2], "last-sequence-number": 2}
    before["refs"] = {"main": {"snapshot-id": ALL["snapshots"][1]["snapshot-id"], "type": "branch"}}
    before["sort-orders"] = [*before["sort-orders"], {"order-id": 1, "fields": [{}]}]
    assert commit_request(IDENTIFIER, before, copy.deepcopy(before))["updates"] == []
    with pytest.raises(Unsupported, match=words):
        commit_request(IDENTIFIER, before, {**copy.deepcopy(before), **changes})


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("table-uuid", "other", "table-uuid"),
        ("refs", {}, "ref main"),
        ("snapshots", ALL["snapshots"][1:], "snapshot "),
        ("schemas", [SCHEMAS[1] | {"schema-id": 0}], "schema 0"),
        ("current-schema-id", 3, "current schema"),
        ("partition-specs", [{"spec-id": 0, "fields": [{"name": "x"}]}], "partition spec 0"),
    ],
)
def test_a_difference_is_named(key: str, value: object, words: str) -> None:
    assert differences(ALL, copy.deepcopy(ALL)) == []
    (found,) = differences({**ALL, key: value, **({"current-snapshot-id": -1} if key == "refs" else {})}, ALL)
    assert words in found


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("properties", {"owner": "else"}, "property owner"),
        ("default-spec-id", 1, "default partition spec"),
        ("statistics", [{"snapshot-id": 1, "statistics-path": "s3://b/x"}], "statistics of 1"),
    ],
)
def test_settings_are_no_difference_unless_they_are_asked_for(key: str, value: object, words: str) -> None:
    wanted = {**copy.deepcopy(ALL), key: value}
    assert differences(ALL, wanted) == []
    (found,) = differences(ALL, wanted, settings=True)
    assert words in found
    assert differences({**wanted, "properties": {**wanted["properties"], "of the server": "1"}}, wanted, settings=True) == []


def test_what_a_server_spells_otherwise_is_no_difference() -> None:
    found = copy.deepcopy(ALL)
    found["schemas"][0]["identifier-field-ids"] = []
    found["schemas"][0]["fields"][0]["doc"] = "documented"
    found["snapshots"][0]["summary"] = {"operation": "append", "engine": "x"}
    assert differences(found, ALL) == []
