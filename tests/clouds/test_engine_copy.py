"""A service copies large objects between two of its buckets by itself: what passes through us then, and what is proven."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from lakehouse.errors import Conflict, Transfer, Verification
from lakehouse.testing.servers import FaultProxy, MotoServer, Rule, SeaweedServer
from tests.clouds.conftest import Lake, store_table
from tests.clouds.engine import MIB, Engine, bodies, copies, data, fetched, fill

LARGE = 17 * MIB + 5
RANGES = 3
COPY = "x-amz-copy-source"


@pytest.fixture(scope="module")
def proxy(seaweed: SeaweedServer) -> Iterator[FaultProxy]:
    with FaultProxy(seaweed.endpoint_url) as running:
        yield running


@pytest.fixture
def engine(lake: Lake, seaweed: SeaweedServer, proxy: FaultProxy) -> Iterator[Engine]:
    """``one:`` and ``two:`` are two buckets of the same server here, reached by the same credentials."""
    made = Engine(lake, seaweed, seaweed, proxy, proxy)
    yield made
    made.clear()


def objects(*, large: int = 2) -> dict[str, bytes]:
    named = {f"large/{number}": data(LARGE, number) for number in range(large)}
    return named | {f"small/{number}": data(1000 + number, 100 + number) for number in range(4)}


def assert_completed(engine: Engine, wanted: dict[str, bytes]) -> None:
    engine.one.clear()
    assert engine.sync("one:t", "two:t").proof == "bytes"
    assert engine.contents("two") == wanted
    assert engine.sync("one:t", "two:t").unchanged


def test_large_objects_are_copied_by_the_service_and_read_only_for_proof(engine: Engine) -> None:
    wanted = objects()
    fill(engine.store("one"), wanted)
    result = engine.sync("one:t", "two:t")
    assert (result.copied.files, result.proof) == (len(wanted), "bytes")
    assert engine.contents("two") == wanted
    assert len(copies(engine.one)) == 2
    assert not [request for request in bodies(engine.one) if "large/" in request.target], "no byte of them is sent"
    for number in range(2):
        reads = fetched(engine.one, f"large/{number}")
        assert len(reads) == 2 * RANGES, "the source's hash, and the target read back: this service states no SHA-256"
        assert all("if-match" in read.headers for read in reads)
    inventory = engine.inventory("two")
    assert {line["origin"] for line in inventory.values()} == {"copied"}
    assert engine.sync("one:t", "two:t").unchanged


@pytest.mark.parametrize("fault", ["status", "lose_reply", "cut_response"])
def test_a_copy_that_fails_once_is_made_again_or_found(engine: Engine, fault: str) -> None:
    wanted = objects()
    fill(engine.store("one"), wanted)
    engine.one.rules.append(Rule(fault, header=COPY, times=1, after=20))  # type: ignore[arg-type]
    engine.sync("one:t", "two:t")
    assert engine.contents("two") == wanted
    assert not [request for request in bodies(engine.one) if "large/" in request.target]


@pytest.mark.parametrize("code", [503, 403])
def test_a_copy_that_is_never_made_fails_the_run_and_the_next_completes_it(engine: Engine, code: int) -> None:
    wanted = objects()
    fill(engine.store("one"), wanted)
    engine.one.rules.append(Rule("status", header=COPY, code=code, times=None))
    with pytest.raises(Transfer, match="2 object"):
        engine.sync("one:t", "two:t", retries=1)
    assert not engine.is_published("two")
    assert {path for path in engine.contents("two") if path.startswith("large/")} == set()
    assert engine.uploads("two") == []
    assert_completed(engine, wanted)


def test_a_source_that_changes_before_its_copy_is_refused(engine: Engine) -> None:
    """Trap Object stores 9."""
    wanted = objects(large=1)
    fill(engine.store("one"), wanted)
    rule = Rule("hold", header=COPY)
    engine.one.rules.append(rule)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(engine.sync, "one:t", "two:t")
        assert rule.held.wait(60)
        wanted["large/0"] = data(LARGE, 66)
        fill(engine.store("one"), {"large/0": wanted["large/0"]})
        rule.released.set()
        with pytest.raises(Transfer, match="large/0: changed"):
            run.result(60)
    assert not engine.is_published("two")
    assert "large/0" not in engine.contents("two")
    assert_completed(engine, wanted)


def test_a_source_that_changes_after_its_copy_is_refused(engine: Engine) -> None:
    wanted = objects(large=1)
    fill(engine.store("one"), wanted)
    rule = Rule("hold", "GET", "large/0")
    engine.one.rules.append(rule)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(engine.sync, "one:t", "two:t")
        assert rule.held.wait(60)
        fill(engine.store("one"), {"large/0": data(LARGE, 66)})
        rule.released.set()
        with pytest.raises(Transfer, match="changed"):
            run.result(60)
    assert not engine.is_published("two")


def test_a_damaged_copy_is_found_and_the_next_run_puts_it_right(engine: Engine) -> None:
    wanted = objects(large=1)
    fill(engine.store("one"), wanted)
    spoilt = wanted["large/0"][:-1] + bytes([wanted["large/0"][-1] ^ 1])
    rule = Rule("hold", "GET", "/t/large/0", times=RANGES)
    engine.one.rules.append(rule)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(engine.sync, "one:t", "two:t")
        assert rule.held.wait(60)
        fill(engine.store("two"), {"large/0": spoilt})
        rule.released.set()
        with pytest.raises(Verification, match="large/0"):
            run.result(60)
    assert not engine.is_published("two")
    assert_completed(engine, wanted)


def test_a_copy_never_overwrites_what_another_tool_wrote(engine: Engine) -> None:
    wanted = objects(large=1)
    fill(engine.store("one"), wanted)
    foreign = data(LARGE, 55)
    rule = Rule("hold", header=COPY)
    engine.one.rules.append(rule)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(engine.sync, "one:t", "two:t")
        assert rule.held.wait(60)
        fill(engine.store("two"), {"large/0": foreign})
        rule.released.set()
        with pytest.raises(Conflict, match="large/0"):
            run.result(60)
    assert engine.contents("two")["large/0"] == foreign
    assert not engine.is_published("two")


def test_an_unfinished_run_of_copies_is_continued(engine: Engine) -> None:
    """One object was copied and noted, one was copied and its proof never read, one is not there."""
    wanted = objects(large=3)
    fill(engine.store("one"), wanted)
    engine.one.rules += [Rule("status", "GET", "large/1", code=403, times=None), Rule("status", "PUT", "large/2", code=403)]
    with pytest.raises(Transfer, match="2 object"):
        engine.sync("one:t", "two:t")
    assert {path for path in engine.contents("two") if path.startswith("large/")} == {"large/0", "large/1"}
    engine.one.clear()
    engine.sync("one:t", "two:t")
    assert [request.target.rpartition("/")[2].partition("?")[0] for request in copies(engine.one)] == ["2"]
    assert not bodies(engine.one)
    assert engine.contents("two") == wanted
    assert engine.sync("one:t", "two:t").unchanged


@pytest.mark.parametrize("provider", ["moto", "unknown"])
def test_a_service_that_is_not_known_to_copy_gets_the_bytes(lake: Lake, moto: MotoServer, provider: str, key: str) -> None:
    with FaultProxy(moto.endpoint_url) as proxy:
        tables = []
        for name in ("one", "two"):
            moto.make_bucket(f"{name}-{key}")
            options = {"url": f"s3://{name}-{key}", "endpoint_url": proxy.endpoint_url, "key": moto.key, "secret": moto.secret}
            tables.append(store_table(name, **options, provider=provider))
        (lake.folder / "lake.toml").write_text("\n".join(tables))
        wanted = objects(large=1)
        fill(lake.store("one:t"), wanted)
        proxy.clear()
        lake("sync", "one:t", "two:t", "--format", "files")
        assert not copies(proxy)
        assert len([request for request in bodies(proxy) if "large/0" in request.target]) == RANGES
        store = lake.store("two:t")
        assert {info.path: store.get(info.path) for info in store.list()} == wanted


def test_other_credentials_for_the_same_server_get_the_bytes(engine: Engine, seaweed_other: SeaweedServer) -> None:
    wanted = objects(large=1)
    fill(engine.store("one"), wanted)
    seaweed_other.make_bucket("engine-two")
    options = {"key": seaweed_other.key, "secret": seaweed_other.secret, "provider": "seaweedfs"}
    engine.add_store("other", url=engine.url("two"), endpoint_url=seaweed_other.endpoint_url, **options)
    assert engine.sync("one:t", "other:t").proof == "bytes"
    assert not copies(engine.one)
    store = engine.lake.store("other:t")
    assert {info.path: store.get(info.path) for info in store.list()} == wanted
