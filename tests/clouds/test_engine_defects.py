"""What the engine did wrong once, under faults that come together."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from lakehouse.bandwidth import Bandwidth
from lakehouse.connect import Access
from lakehouse.errors import Conflict, Transfer
from lakehouse.plan import Copy
from lakehouse.ranges import Limits
from lakehouse.table import TableFile
from lakehouse.testing.servers import Rule
from lakehouse.transfer import transfer
from tests.clouds.engine import MIB, Engine, bodies, data, files, fill, interrupt


def test_a_storm_of_503_and_an_object_of_many_parts(engine: Engine, tmp_path: Path) -> None:
    """20 % of requests; 16 parts: an upload of 18 requests has a chance of 1.8 % each try."""
    wanted = {"large": data(128 * MIB, 1)}
    source = str(files(tmp_path / "source", wanted))
    engine.two.rules.append(Rule("status", times=None, chance=0.2))
    engine.sync(source, "two:t")
    engine.two.clear()
    assert engine.store("two").head("large").size == 128 * MIB
    assert engine.uploads("two") == []


def test_an_abort_that_is_refused_once_leaves_no_upload(engine: Engine, tmp_path: Path) -> None:
    wanted = {"large": data(20 * MIB, 1)}
    source = str(files(tmp_path / "source", wanted))
    engine.two.rules += [Rule("status", "PUT", "partNumber=2"), Rule("status", "DELETE", "uploadId")]
    engine.sync(source, "two:t")
    engine.two.clear()
    assert engine.uploads("two") == []


def test_an_upload_that_the_server_forgot_is_no_missing_source(engine: Engine, tmp_path: Path) -> None:
    """A lifecycle rule aborts uploads: the run is tried again, and is never 'missing at the source'."""
    wanted = {"large": data(20 * MIB, 1)}
    source = str(files(tmp_path / "source", wanted))
    rule = Rule("hold", "PUT", "partNumber=3")
    engine.two.rules.append(rule)
    client = engine.client(engine.second)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(engine.sync, source, "two:t")
        assert rule.held.wait(30)
        (upload,) = client.list_multipart_uploads(Bucket="engine-two", Prefix=engine.key)["Uploads"]
        client.abort_multipart_upload(Bucket="engine-two", Key=upload["Key"], UploadId=upload["UploadId"])
        rule.released.set()
        with suppress(Transfer):
            run.result(60)
    engine.two.clear()
    engine.sync(source, "two:t")


def test_what_another_tool_writes_while_a_large_object_is_sent_is_not_overwritten(engine: Engine, tmp_path: Path) -> None:
    wanted = {"large": data(80 * MIB, 1)}
    source = str(files(tmp_path / "source", wanted))
    rule = Rule("hold", "PUT", "partNumber=1")
    engine.two.rules.append(rule)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(engine.sync, source, "two:t")
        assert rule.held.wait(30)
        fill(engine.store("two"), {"large": b"of another tool"})
        rule.released.set()
        with pytest.raises(Conflict):
            run.result(60)
    assert engine.contents("two") == {"large": b"of another tool"}


def test_a_part_that_is_damaged_once_on_its_way_is_sent_again(engine: Engine, tmp_path: Path) -> None:
    wanted = {"large": data(20 * MIB, 1), "small": b"123"}
    source = str(files(tmp_path / "source", wanted))
    engine.two.rules += [Rule("damage_request", "PUT", "partNumber=2"), Rule("damage_request", "PUT", "small")]
    engine.sync(source, "two:t")
    assert engine.contents("two") == wanted


def test_ctrl_c_while_parts_are_sent_leaves_neither_object_nor_upload(engine: Engine, tmp_path: Path) -> None:
    """The rest of a large object is not sent first: that might take hours."""
    wanted = {"large/0": data(64 * MIB, 3)}
    source = str(files(tmp_path / "source", wanted))
    engine.two.rules.append(Rule("slow_request", "PUT", "partNumber=", times=None, bytes_per_second=8 * MIB))
    interrupt(engine, lambda: bool(bodies(engine.two)), source, seconds=8)
    assert len(bodies(engine.two)) < 8
    assert engine.contents("two") == {}
    assert engine.uploads("two") == []
    engine.two.clear()
    engine.sync(source, "two:t")
    assert engine.contents("two") == wanted


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_in_a_wait_for_bandwidth_ends_in_a_moment(engine: Engine, tmp_path: Path, by: signal.Signals) -> None:
    """Fifteen objects wait for half a minute of bandwidth; one has arrived, and is noted at the end."""
    wanted = {f"{number:02d}": data(MIB, number) for number in range(20)}
    source = str(files(tmp_path / "source", wanted))
    interrupt(engine, lambda: len(bodies(engine.two)) >= 2, source, "--bwlimit", "500k:off", seconds=5, by=by)
    assert engine.contents("two").items() <= wanted.items()
    assert not engine.is_published("two")
    assert len(list(engine.receipts("two").list("pending"))) == 2


def test_memory_stays_in_its_budget_when_every_put_fails(engine: Engine, tmp_path: Path) -> None:
    """The errors of all objects are kept to the end: with their tracebacks they keep the bytes of all objects."""
    source = str(files(tmp_path / "source", {f"{number:03d}": data(4 * MIB, number) for number in range(100)}))
    engine.two.rules.append(Rule("status", "PUT", r"/t/\d", code=403, times=None))
    script = """
        import sys
        from lakehouse_cli.main import run
        code = run(sys.argv[1:])
        print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1], file=sys.stderr)
        sys.exit(code)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), "sync", source, "two:t", "--format", "files", "--memory", "128M"]
    run = subprocess.run(command, env=engine.lake.environment, capture_output=True, text=True, check=False)
    peak = int(run.stderr.split()[-1]) >> 10
    assert peak < 250


def test_a_service_that_is_down_for_good_ends_the_run_within_a_limit(engine: Engine, tmp_path: Path) -> None:
    """Each object is tried for 25 seconds, 16 at a time: a run of 100,000 takes two days to say so. Here: 400 with one retry."""
    source = str(files(tmp_path / "source", {f"{number:03d}": data(100, number) for number in range(400)}))
    engine.two.rules.append(Rule("status", "PUT", r"/t/\d", code=500, times=None))
    with pytest.raises(Transfer):
        engine.sync(source, "two:t", retries=1)
    assert len(bodies(engine.two)) < 600


def test_an_interrupt_while_an_object_is_noted_ends_the_workers_first(engine: Engine, tmp_path: Path) -> None:
    """Ctrl-C falls into the noting of an object: the notes must not be written while workers still send."""
    source = engine.lake.store(str(files(tmp_path / "source", {f"{number:02d}": data(MIB, number) for number in range(20)})))
    target = Access(bandwidth=Bandwidth(200_000, None)).retrying(engine.store("two"), "test")
    copies = [Copy(TableFile(info.path, info.size), "copy") for info in source.list()]

    def note(written: object) -> None:
        raise KeyboardInterrupt

    try:
        for _ in transfer(source, target, copies, limits=Limits(), note=note):
            pass
    except KeyboardInterrupt:
        left = [thread.name for thread in threading.enumerate() if thread.name.startswith("lake")]
    assert not [name for name in left if name.startswith("lake_")]
