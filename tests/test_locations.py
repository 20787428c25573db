"""The two maps of a table: where what it states lies, and where it goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.errors import Unsupported
from lakehouse.locations import Locations, Place, canonical

TARGET = "gs://eu/replica"
WORDS = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda word: word not in (".", "..", "_lake")
)
PATHS = st.lists(WORDS, min_size=1, max_size=4).map("/".join)


def table(stated: str = "s3://data/t", source: str = "s3://data/t", **more: object) -> Locations:
    return Locations(source, TARGET, stated, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("s3a://b/k", "s3://b/k"),
        ("S3N://b/k", "s3://b/k"),
        ("gcs://b/k", "gs://b/k"),
        ("abfs://c@a.dfs.core.windows.net/k", "abfss://c@a.dfs.core.windows.net/k"),
        ("wasbs://c@a.blob.core.windows.net/k", "abfss://c@a.dfs.core.windows.net/k"),
        ("file:/x/y", "file:///x/y"),
        ("file:///x/y", "file:///x/y"),
        ("file://localhost/x/y", "file:///x/y"),
        ("/x/y", "file:///x/y"),
        ("./x/y", "x/y"),
        ("x/y", "x/y"),
        ("file://x/y", "x/y"),
        ("s3://b/a%20b//./c", "s3://b/a%20b//./c"),
        ("hdfs://nn:8020/x", "hdfs://nn:8020/x"),
    ],
)
def test_one_spelling_for_comparing_with_nothing_decoded(stated: str, expected: str) -> None:
    assert canonical(stated) == expected


@given(PATHS, st.sampled_from(["s3://data/t", "s3a://data/t", "s3n://data/t"]))
def test_what_lies_below_the_location_keeps_its_path_byte_for_byte(path: str, spelled: str) -> None:
    """Trap Iceberg 13: commas, spaces, unicode, ``%``, ``+``, ``#``, ``?`` in paths; 12: scheme aliases."""
    assert table().place(f"{spelled}/{path}") == Place(path, path)
    assert table().address(f"{spelled}/{path}") == f"{TARGET}/{path}"


def test_a_prefix_ends_at_a_segment() -> None:
    """Trap Iceberg 1: ``s3://data`` is not a prefix of ``s3://data-archive``."""
    locations = Locations("s3://data", TARGET, "s3://data")
    assert locations.place("s3://data/x").write == "x"
    with pytest.raises(Unsupported, match="--map s3://data-archive"):
        locations.place("s3://data-archive/x")
    assert table().place("s3://data/t2/x").write.startswith("ext/")


def test_a_table_opened_by_path_is_where_the_path_says() -> None:
    moved = table("s3://gone/warehouse/t", "s3://backup/copy")
    assert moved.place("s3://gone/warehouse/t/data/x") == Place("data/x", "data/x")


def test_the_location_and_the_paths_may_be_spelled_differently() -> None:
    relative = Locations("file:///srv/t", TARGET, "./lineitem")
    assert relative.place("lineitem/data/x") == Place("data/x", "data/x")
    assert relative.place("./lineitem/data/x") == Place("data/x", "data/x")
    local = Locations("file:///srv/t", TARGET, "file:/warehouse/t")
    assert local.place("/warehouse/t/x").read == local.place("file:///warehouse/t/x").read == "x"
    assert len(local.heads) == 2


@given(PATHS, PATHS)
def test_files_outside_get_a_name_that_only_the_stated_path_decides(one: str, other: str) -> None:
    """Trap Iceberg 12: two files with one base name; 17 of Delta: the same name in every run."""
    written = table().place(f"s3://data/elsewhere/{one}").write
    assert written == table("s3://data/t", "s3://data/t").place(f"s3a://data/elsewhere/{one}").write
    assert written.startswith("ext/")
    assert written.rpartition("/")[2] == one.rpartition("/")[2]
    assert (written == table().place(f"s3://data/elsewhere/{other}").write) == (one == other)


def test_own_bucket_or_parent_folder_is_read_where_it_is_stated_and_nothing_else_without_being_asked() -> None:
    assert table().place("s3a://data/other/x").read == "s3://data/other/x"
    assert Locations("file:///w/wild/t", TARGET, "/w/wild/t").place("/w/wild/_outside/x").read == "file:///w/wild/_outside/x"
    for stated in ("s3://another/x", "gs://data/x", "file:///etc/passwd", "other/x", "/etc/passwd"):
        with pytest.raises(Unsupported, match=r"say where it lies with --map"):
            table().place(stated)
    with pytest.raises(Unsupported):
        Locations("file:///w/wild/t", TARGET, "/w/wild/t").place("/w/secret/x")


def test_allow_external_permits_a_prefix_but_never_a_local_file_of_a_remote_table() -> None:
    allowed = table(external=("s3a://another/pub", "/etc"))
    assert allowed.place("s3://another/pub/x").read == "s3://another/pub/x"
    for stated in ("s3://another/public/x", "/etc/passwd"):
        with pytest.raises(Unsupported):
            allowed.place(stated)


def test_the_longest_map_wins_and_the_name_at_the_target_is_of_the_stated_path() -> None:
    mapped = table(maps=(("s3://old", "gs://new"), ("s3://old/deep", "file:///deep")))
    assert mapped.place("s3://old/x").read == "gs://new/x"
    assert mapped.place("s3a://old/deep/x").read == "file:///deep/x"
    assert mapped.place("s3://old/x").write == table(maps=(("s3://old", "az://c"),)).place("s3://old/x").write
    assert mapped.digest() != table().digest() == ""


def test_a_map_decides_where_a_file_is_read_and_never_how_it_is_called() -> None:
    """Trap Delta 17: a ``remove`` of a localised file arrives a week after its ``add``, and finds the same name."""
    plain, moved = Locations("file:///srv/t", TARGET), Locations("file:///srv/t", TARGET, maps=(("/srv/old", "file:///srv/t"),))
    assert moved.read("/srv/old/p=1/x") == "p=1/x"
    assert moved.write("/srv/old/p=1/x") == plain.write("/srv/old/p=1/x") == plain.write("file:/srv/old/p=1/x")
    assert plain.read("/srv/old/p=1/x") == "file:///srv/old/p=1/x"


@pytest.mark.parametrize(
    "stated", ["s3://data/t/../secret", "s3://data/t/a/../../x", "s3://data/t/_lake/latest.json", "s3://data/t/"]
)
def test_what_leads_out_of_the_table_or_into_receipts_is_refused(stated: str) -> None:
    with pytest.raises(Unsupported):
        table().place(stated)


def test_dots_outside_are_not_followed_either() -> None:
    with pytest.raises(Unsupported):
        table().place("s3://data/other/../../x")


def test_folders_that_properties_name_are_mapped_inside_and_told_apart_outside() -> None:
    assert table().is_inside("s3a://data/t/data2/")
    assert table().directory("s3a://data/t/data2/") == f"{TARGET}/data2"
    assert table().directory("s3://data/t") == TARGET
    assert not table().is_inside("s3://data/t2")
    assert table().is_mentioned("see s3://data/t/readme")
    assert not table().is_mentioned("see s3://date/t")


def test_empty_segments_stay_in_the_address_and_collapse_in_the_path_of_a_file_system() -> None:
    """A location that ends in a slash gives paths with ``//``; only the prefix of a path is ever rewritten, so order is kept."""
    local = Locations("file:///srv/t", "file:///r", "file:///srv/t/")
    assert local.place("file:///srv/t//data/./x") == Place("data/x", "data/x")
    assert local.address("file:///srv/t//data/./x") == "file:///r/data/./x"
    slash = Locations("s3://data/t", TARGET, "s3://data/t/")
    assert slash.write("s3://data/t//metadata/x") == "metadata/x"
    assert slash.address("s3://data/t//metadata/x") == f"{TARGET}/metadata/x"
    with pytest.raises(Unsupported, match="segments cannot be kept"):
        slash.write("s3://data/t/data//x")


@pytest.mark.parametrize(
    "path", ["_lake", "./_lake/latest.json", "/_lake/receipts/1.json", "_delta_log/00000000000000000001.json",
             "metadata/v1.metadata.json", "metadata//version-hint.text", "metadata/00001-x.gz.metadata.json", "."],
)  # fmt: skip
def test_no_file_of_a_table_may_have_a_name_by_which_a_replica_is_found(path: str) -> None:
    """A manifest may state anything: what is ours at the target is never written as data."""
    with pytest.raises(Unsupported, match="cannot be carried under that name"):
        table().place(f"s3://data/t/{path}")
    assert table().read("s3://data/t/metadata/v1.metadata.json") == "metadata/v1.metadata.json"


def test_what_is_only_named_needs_no_permission_and_gets_the_same_name_as_what_is_read() -> None:
    """DELETED entries and dangling position deletes name files that nobody reads any more."""
    away = "s3://another/x.parquet"
    assert table().write(away) == table(external=("s3://another",)).place(away).write
    with pytest.raises(Unsupported):
        table().read(away)


NASTY = st.sampled_from(
    [
        *("", ".", "..", "...", ".x", "x.", "x..", "a:b", "t", "day=1%2F2", "localhost", "file:", "s3:", "metadata/x"),
        *("_lake", "_lake/x", "_lakes", "_delta_log", "metadata/v1.metadata.json", "metadata/version-hint.text"),
        *("c@a.dfs.core.windows.net", "c@a.blob.core.windows.net"),
    ]
) | st.text("a.:_/", max_size=4)
BEGINNINGS = st.sampled_from(
    [
        *("s3://b/t", "s3a://b/t", "S3N://b/t", "s3://b", "s3://b/t/../t", "s3:/", "abfss:/"),
        *("abfss://c@a.dfs.core.windows.net/t", "wasbs://c@a.blob.core.windows.net/t"),
        *("file:///t", "file:/t", "/t", "file:///", "/", "", ".", "./t", "t", "file:t", "file://", "file://localhost/t"),
    ]
)
STATED = st.builds(lambda head, rest: "/".join([head, *rest]), BEGINNINGS, st.lists(NASTY, max_size=4))
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "maps": st.lists(st.tuples(STATED, BEGINNINGS), max_size=2).map(tuple),
        "external": st.lists(STATED, max_size=2).map(tuple),
    },
)
LOCATIONS = st.just("") | BEGINNINGS | STATED
SOURCES = st.sampled_from(["s3://b/t", "s3://b", "file:///t", "file:///", "abfss://c@a.dfs.core.windows.net/t"])


def outcome(ask: Callable[[str], object], stated: str) -> object:
    try:
        return ask(stated)
    except Unsupported as error:
        return str(error)


@settings(max_examples=500)
@given(SOURCES, st.sampled_from([TARGET, "file:///r"]), LOCATIONS, OPTIONS, st.lists(STATED, min_size=1, max_size=12))
def test_what_is_said_of_a_path_does_not_depend_on_the_paths_before_it(
    source: str, target: str, stated_at: str, options: dict[str, tuple[object, ...]], paths: list[str]
) -> None:
    """Spellings of the location are remembered, and what follows them is then read with a shorter look."""
    kept = Locations(source, target, stated_at, **options)  # type: ignore[arg-type]
    heads: set[str] = set()
    for stated in [*paths, *(f"{path}/data/x" for path in [stated_at, *paths]), *paths]:
        for name in ("read", "write", "address"):
            fresh = replace(kept, heads=set())
            assert outcome(getattr(kept, name), stated) == outcome(getattr(fresh, name), stated), (name, stated)
            heads |= fresh.heads
        place = outcome(kept.place, stated)
        assert not isinstance(place, Place) or place == (kept.read(stated), kept.write(stated))
    assert kept.heads == heads
