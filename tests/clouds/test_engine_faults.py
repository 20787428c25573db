"""The engine on a network that fails: storms, cuts, stalls, damage. What arrives is whole; what is not whole is nowhere."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lakehouse.errors import Transfer
from lakehouse.testing.servers import Rule
from tests.clouds.engine import MIB, Engine, bodies, data, fetched, files, fill, interrupt

LARGE = 17 * MIB + 5


def objects(*, large: int = 1, small: int = 8) -> dict[str, bytes]:
    named = {f"large/{number}": data(LARGE, number) for number in range(large)}
    return named | {f"small/{number:03d}": data(1000 + number, 100 + number) for number in range(small)}


def assert_nothing_was_published(engine: Engine, wanted: dict[str, bytes]) -> None:
    """No receipt, no open upload, and of what is there every object is whole."""
    assert not engine.is_published("two")
    assert engine.uploads("two") == []
    assert engine.contents("two").items() <= wanted.items()


def assert_completed(engine: Engine, wanted: dict[str, bytes]) -> None:
    """The next run, on a network without faults, completes the replica."""
    engine.one.clear()
    engine.two.clear()
    assert engine.sync("one:t", "two:t").proof == "bytes"
    assert engine.contents("two") == wanted
    assert engine.uploads("two") == []
    assert engine.sync("one:t", "two:t").unchanged


def test_a_storm_of_503_on_both_sides_ends_well(engine: Engine) -> None:
    """Trap Object stores 4."""
    wanted = objects(large=1, small=40)
    fill(engine.store("one"), wanted)
    for proxy in (engine.one, engine.two):
        proxy.rules.append(Rule("status", times=None, chance=0.2))
    engine.sync("one:t", "two:t")
    assert any(request.status == 503 for request in engine.two.requests)
    assert engine.contents("two") == wanted
    assert engine.uploads("two") == []


@pytest.mark.parametrize("retries", [0, 1])
def test_a_storm_without_patience_fails_and_runs_again_until_all_is_there(engine: Engine, retries: int) -> None:
    wanted = objects(small=20)
    fill(engine.store("one"), wanted)
    engine.two.rules.append(Rule("status", "PUT", r"/t/(small|large)/", times=None, chance=0.5))
    with pytest.raises(Transfer, match="run again"):
        engine.sync("one:t", "two:t", retries=retries)
    engine.two.rules.clear()
    assert_nothing_was_published(engine, wanted)
    assert_completed(engine, wanted)


FAULTS = {
    "a small object cut while it is read": ("one", Rule("cut_response", "GET", r"small/", times=None, after=100)),
    "a range cut while it is read": ("one", Rule("cut_response", "GET", r"large/", times=None, after=5 * MIB)),
    "a range that looks whole and is not": ("one", Rule("truncate", "GET", r"large/", times=None, after=5 * MIB)),
    "a small object that looks whole and is not": ("one", Rule("truncate", "GET", r"small/", times=None, after=100)),
    "a small object cut while it is sent": ("two", Rule("cut_request", "PUT", r"small/", times=None, after=100)),
    "a part cut while it is sent": ("two", Rule("cut_request", "PUT", r"partNumber=2", times=None, after=5 * MIB)),
    "a small object damaged while it is sent": ("two", Rule("damage_request", "PUT", r"small/", times=None)),
    "a part damaged while it is sent": ("two", Rule("damage_request", "PUT", r"partNumber=2", times=None)),
    "a part that is refused": ("two", Rule("status", "PUT", r"partNumber=3", times=None)),
    "an upload that is never completed": ("two", Rule("status", "POST", r"uploadId=", times=None)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_published_from_a_damaged_transfer_and_the_next_run_completes_it(engine: Engine, fault: str) -> None:
    """Traps Object stores 14 and 15."""
    wanted = objects()
    fill(engine.store("one"), wanted)
    side, rule = FAULTS[fault]
    spoilt = Rule(rule.fault, rule.method, rule.path, times=None, after=rule.after)
    (engine.one if side == "one" else engine.two).rules.append(spoilt)
    with pytest.raises(Transfer):
        engine.sync("one:t", "two:t", retries=1)
    assert_nothing_was_published(engine, wanted)
    assert len(engine.contents("two")) == (1 if "small/" in rule.path else 8), "what is not hit by the fault has arrived"
    assert_completed(engine, wanted)


OF_THE_LINK = [name for name, (_, rule) in FAULTS.items() if rule.fault not in ("truncate", "damage_request")]


@pytest.mark.parametrize(
    "fault", [fault if "cut" in fault else pytest.param(fault, marks=pytest.mark.slow) for fault in OF_THE_LINK]
)
def test_a_link_that_fails_twice_costs_only_time(engine: Engine, fault: str) -> None:
    wanted = objects()
    fill(engine.store("one"), wanted)
    side, rule = FAULTS[fault]
    spoilt = Rule(rule.fault, rule.method, rule.path, times=2, after=rule.after)
    (engine.one if side == "one" else engine.two).rules.append(spoilt)
    engine.sync("one:t", "two:t")
    assert engine.contents("two") == wanted
    assert engine.uploads("two") == []


@pytest.mark.parametrize("path", ["small/", "partNumber=1", "uploadId="], ids=["object", "part", "completion"])
def test_a_lost_reply_to_an_upload_is_settled(engine: Engine, path: str) -> None:
    wanted = objects()
    fill(engine.store("one"), wanted)
    engine.two.rules.append(Rule("lose_reply", "POST" if path == "uploadId=" else "PUT", path))
    engine.sync("one:t", "two:t")
    assert engine.contents("two") == wanted
    assert engine.uploads("two") == []


@pytest.mark.parametrize("path", ["small/", "large/"])
def test_a_stalled_read_is_given_up_and_tried_again(engine: Engine, path: str) -> None:
    wanted = objects()
    fill(engine.store("one"), wanted)
    engine.one.rules.append(Rule("stall", "GET", path, times=2))
    start = time.monotonic()
    engine.sync("one:t", "two:t")
    assert engine.timeout * 0.9 < time.monotonic() - start < 30
    assert engine.contents("two") == wanted


@pytest.mark.slow
@pytest.mark.parametrize("path", ["small/", "partNumber=2"])
def test_a_stalled_upload_is_given_up_and_tried_again(engine: Engine, path: str) -> None:
    """An upload may be silent ten times as long as a read."""
    wanted = objects()
    fill(engine.store("one"), wanted)
    engine.two.rules.append(Rule("stall", "PUT", path, times=1))
    engine.sync("one:t", "two:t")
    assert engine.contents("two") == wanted
    assert engine.uploads("two") == []


def test_a_link_that_stalls_for_good_ends_with_7_within_its_limits(engine: Engine) -> None:
    fill(engine.store("one"), objects(large=0, small=3))
    engine.one.rules.append(Rule("stall", "GET", "small/", times=None))
    start = time.monotonic()
    failed = engine.lake("sync", "one:t", "two:t", "--format", "files", "--retries", "1", expect=7)
    assert time.monotonic() - start < 30
    assert "run again" in failed["error"]["message"]
    assert not engine.is_published("two")


def test_a_slow_link_in_both_directions_is_no_failure(engine: Engine) -> None:
    """Each range takes longer than the store's time-out, and is never silent for so long."""
    wanted = objects()
    fill(engine.store("one"), wanted)
    engine.one.rules.append(Rule("slow", "GET", "large/", bytes_per_second=3 * MIB))
    engine.two.rules.append(Rule("slow_request", "PUT", "partNumber=1", bytes_per_second=3 * MIB))
    engine.sync("one:t", "two:t", retries=0)
    assert engine.contents("two") == wanted


def test_an_object_that_changes_between_two_ranges_is_refused_and_the_next_run_brings_the_new_one(engine: Engine) -> None:
    """Trap Object stores 9."""
    wanted = objects(large=1)
    fill(engine.store("one"), wanted)
    rule = Rule("hold", "GET", "large/", skip=1, times=None)
    engine.one.rules.append(rule)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(engine.sync, "one:t", "two:t")
        assert rule.held.wait(60)
        wanted["large/0"] = data(LARGE, 77)
        fill(engine.store("one"), {"large/0": wanted["large/0"]})
        rule.released.set()
        with pytest.raises(Transfer, match="changed while it was read") as caught:
            run.result(60)
    assert caught.value.exit_code == 7
    assert_nothing_was_published(engine, wanted)
    assert_completed(engine, wanted)
    assert len(fetched(engine.one, "large/0")) == 3, "the second run reads the new object once"


def test_other_bytes_under_a_name_are_a_conflict_and_no_upload_is_left_open(engine: Engine) -> None:
    wanted = objects(large=2)
    fill(engine.store("one"), wanted)
    foreign = {"large/1": data(LARGE, 9), "small/003": b"of another tool"}
    fill(engine.store("two"), foreign)
    failed = engine.lake("sync", "one:t", "two:t", "--format", "files", expect=5)
    assert "2 object(s) at the target are not ours" in failed["error"]["message"]
    assert engine.contents("two") == wanted | foreign
    assert not engine.is_published("two")
    assert engine.uploads("two") == []
    for path in foreign:
        engine.store("two").delete(path)
    assert_completed(engine, wanted)


def test_ctrl_c_in_a_wait_for_the_next_try_ends_in_a_moment(engine: Engine, tmp_path: Path) -> None:
    """One object has arrived, and is noted at the end."""
    wanted = {f"{number:02d}": data(MIB, number) for number in range(20)}
    source = str(files(tmp_path / "source", wanted))
    engine.two.rules.append(Rule("status", "PUT", r"/t/\d", skip=1, times=None))
    interrupt(engine, lambda: len(bodies(engine.two)) >= 20, source, "--retries", "100", seconds=5)
    assert engine.contents("two").items() <= wanted.items()
    assert not engine.is_published("two")
    assert len(list(engine.receipts("two").list("pending"))) == 2
