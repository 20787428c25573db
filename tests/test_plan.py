"""Planning: a pure decision for each file, the same however many shelves what is known is spread over."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse import spool
from lakehouse.errors import Conflict
from lakehouse.listing_digest import digest_of
from lakehouse.plan import AtTarget, Copy, Plan, make_plan
from lakehouse.spool import Spool
from lakehouse.store import ObjectInfo
from lakehouse.table import TableFile, TableVersion, Written

VERSION = TableVersion("files", "1", None, None, "", "")
NAMES = st.sampled_from([f"f{number}" for number in range(12)])
ETAGS = st.sampled_from(["1", "2"])
FILES = st.lists(
    st.builds(TableFile, NAMES, st.integers(0, 3), st.booleans(), ETAGS, st.none(), st.booleans(), st.none(), st.booleans()),
    unique_by=lambda file: file.path,
)
ORIGINS = st.sampled_from(["copied", "copied", "adopted", "deleted"])
RECORDS = st.lists(st.builds(Written, NAMES, st.integers(0, 3), st.just(""), ORIGINS, ETAGS, ETAGS))
NOTES = st.lists(st.builds(Written, NAMES, st.integers(0, 3), st.just(""), st.sampled_from(["copied", "damaged"]), ETAGS, ETAGS))
LISTED = st.lists(st.builds(ObjectInfo, NAMES, st.integers(0, 3), ETAGS), unique_by=lambda info: info.path)


def there(events: Iterable[Written] = (), noted: Iterable[Written] = (), present: Iterable[ObjectInfo] | None = ()) -> AtTarget:
    made = AtTarget(present=None if present is None else spool.listing())
    made.events.extend(events)
    made.noted.extend(noted)
    if made.present is not None:
        made.present.extend(present or ())
    return made


def plan(files: Iterable[TableFile], at: AtTarget, **options: Any) -> Plan:
    return make_plan(VERSION, None, files, at, **{"listing_is_table": True, **options})


def seen(made: Plan) -> dict[str, object]:
    """All that a plan says, without the order of its copies."""
    names = "copy", "history", "keep", "rewrite", "deletions"
    said = {name: getattr(made, name) for name in names}
    first, last = made.parts()
    return said | {
        "first": sorted(first, key=lambda copy: copy.path),
        "last": sorted(last, key=lambda copy: copy.path),
        "left": sorted(made.left, key=lambda written: written.path),
        "kept": made.kept_listing.hexdigest(),
    }


@given(FILES, RECORDS, NOTES, LISTED, st.booleans(), st.booleans(), st.booleans())
def test_a_plan_is_the_same_on_one_shelf_and_on_many(
    files: list[TableFile], events: list[Written], noted: list[Written], present: list[ObjectInfo], table: bool,
    checksum: bool, in_place: bool,
) -> None:  # fmt: skip
    said: list[object] = []
    for room in (1000, 4, 1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(spool, "SHELF_RECORDS", room)
            patch.setattr(spool, "BATCH_RECORDS", max(2, room // 10))
            try:
                made = plan(
                    files,
                    there(events, noted, present),
                    listing_is_table=table,
                    checksum=checksum,
                    in_place=in_place,
                    delete=True,
                )
            except Conflict as error:
                said.append(str(error))
            else:
                said.append(seen(made))
    assert said == [said[0]] * 3


def test_the_order_of_the_files_is_kept_where_one_shelf_is_enough() -> None:
    files = [TableFile(name, 1, etag="1") for name in "cab"]
    assert [copy.path for copy in plan(files, there(present=[ObjectInfo("z", 1, "1")])).copies()] == ["c", "a", "b"]


@given(FILES)
def test_where_nothing_is_known_everything_is_copied_and_what_describes_the_others_comes_last(files: list[TableFile]) -> None:
    for present in ((), None):
        made = plan(files, there(present=present))
        wanted = [Copy(file, "copy") for file in files if not file.rewritten]
        assert list(made.copies()) == [copy for copy in wanted if not copy.file.last] + [c for c in wanted if c.file.last]
        assert (made.copy.files, made.copy.bytes) == (len(wanted), sum(copy.size for copy in wanted))
        assert made.history.files == sum(not copy.file.required for copy in wanted)
        assert made.rewrite.files == len(files) - len(wanted)


@pytest.mark.parametrize(
    ("record", "listed", "action"),
    [
        (None, None, "copy"),
        (None, ObjectInfo("f", 1, "t"), "compare"),
        (Written("f", 1, "", "copied", "s", "t"), None, "copy"),
        (Written("f", 1, "", "copied", "s", "t"), ObjectInfo("f", 1, "t"), None),
        (Written("f", 1, "", "copied", "s", "t"), ObjectInfo("f", 1, "other"), "compare"),
        (Written("f", 1, "", "copied", "s", "t"), ObjectInfo("f", 2, "t"), "compare"),
        (Written("f", 1, "", "copied", "other", "t"), ObjectInfo("f", 1, "t"), "replace"),
        (Written("f", 1, "", "deleted"), ObjectInfo("f", 1, "t"), "compare"),
    ],
)
def test_each_file_is_kept_only_while_both_sides_are_what_was_recorded(
    record: Written | None, listed: ObjectInfo | None, action: str | None
) -> None:
    at = there([] if record is None else [record], (), [] if listed is None else [listed])
    made = plan([TableFile("f", 1, etag="s")], at, in_place=True)
    assert [copy.action for copy in made.copies()] == ([] if action is None else [action])
    if action is None and listed is not None:
        assert made.kept_listing.hexdigest() == digest_of([listed])


def test_what_an_unfinished_run_noted_is_kept_and_told_apart() -> None:
    noted = [Written(name, 1, "h", "copied", "s", "t") for name in ("kept", "stale", "gone")]
    noted.append(Written("broken", 1, "h", "damaged", "s", "t"))
    present = [ObjectInfo("kept", 1, "t"), ObjectInfo("stale", 1, "u"), ObjectInfo("gone", 1, "t"), ObjectInfo("broken", 1, "t")]
    files = [TableFile(name, 1, etag="s") for name in ("kept", "stale", "broken", "new")]
    made = plan(files, there((), noted, present), listing_is_table=False)
    assert {copy.path: copy.action for copy in made.copies()} == {"stale": "compare", "broken": "compare", "new": "copy"}
    assert {(one.path, one.origin) for one in made.left} == {("kept", "adopted"), ("gone", "adopted")}
    assert made.keep.files == 1


def test_deletions_need_leave_and_stop_at_what_somebody_changed() -> None:
    records = [Written(name, 1, "", "copied", "s", "t") for name in ("b", "a", "c")]
    at = there(records, (), [ObjectInfo("a", 1, "t"), ObjectInfo("b", 1, "t")])
    with pytest.raises(Conflict, match=r"3 file.*first a"):
        plan([], at)
    assert plan([], at, delete=True).deletions == ("a", "b", "c")
    assert plan([TableFile("a", 1, etag="s")], at, delete=True).deletions == ("b", "c")
    changed = there(records, (), [ObjectInfo("a", 1, "t"), ObjectInfo("b", 2, "t")])
    with pytest.raises(Conflict, match="b: was changed"):
        plan([], changed, delete=True)


def test_a_plan_of_many_files_holds_them_in_a_file() -> None:
    files = (TableFile(f"data/{number:07d}", 1, last=number % 1000 == 0) for number in range(5000))
    made = plan(files, there())
    copies: Spool[Copy] = made.parts()[0]
    assert len(copies) > spool.BATCH_RECORDS
    assert sorted(copy.path for copy in made.copies()) == [f"data/{number:07d}" for number in range(5000)]
    assert [copy.path for copy in made.parts()[1]] == [f"data/{number:07d}" for number in range(0, 5000, 1000)]
