"""A run that ended in the midst is taken up by the next one; what another tool had brought is taken over; keys that expire."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lakehouse.errors import Conflict, Transfer
from lakehouse.testing.servers import FaultProxy, Rule, SeaweedServer
from tests.clouds.conftest import Lake
from tests.clouds.engine import MIB, Engine, bodies, data, fetched, files, fill, within


@pytest.fixture
def engine(
    lake: Lake, seaweed: SeaweedServer, seaweed_other: SeaweedServer, proxies: tuple[FaultProxy, FaultProxy]
) -> Iterator[Engine]:
    made = Engine(lake, seaweed, seaweed_other, *proxies, timeout=30.0)
    yield made
    made.clear()


def keys_of(engine: Engine) -> list[str]:
    """The paths whose bodies were sent to the second server."""
    prefix = f"/engine-two/{engine.key}/t/"
    return [request.target.partition("?")[0].removeprefix(prefix) for request in bodies(engine.two)]


def test_a_killed_process_is_continued_without_sending_anything_twice(engine: Engine, tmp_path: Path) -> None:
    """Trap Operations: a half-written target of a killed run."""
    wanted = {f"n/{number:03d}": data(2_000 + number, number) for number in range(300)}
    wanted["large/done"] = data(9 * MIB, 1000)
    source = files(tmp_path / "source", wanted)
    rule = Rule("hold", "PUT", r"/t/n/", skip=150, times=None)
    engine.two.rules.append(rule)
    run = subprocess.Popen(
        engine.lake.command("sync", str(source), "two:t", "--format", "files"),
        env=engine.lake.environment,
        stderr=subprocess.DEVNULL,
    )
    assert within(lambda: len(bodies(engine.two, below="/t/n/")) == 150 + 16), "all sixteen workers are held"
    assert within(lambda: len([request for request in bodies(engine.two, below="/t/n/") if request.status]) == 150)
    run.kill()
    run.wait()
    engine.two.clear()
    there = set(engine.contents("two"))
    assert len(there) == 151
    result = engine.sync(str(source), "two:t")
    sent = keys_of(engine)
    assert not there & set(sent)
    assert set(sent) == wanted.keys() - there
    assert engine.contents("two") == wanted
    assert result.copied.files + result.kept.files == len(wanted)
    assert {line["path"] for line in engine.inventory("two").values()} == wanted.keys()
    engine.two.clear()
    rule.released.set()  # what the killed process had sent arrives at last, and finds its name taken
    assert engine.sync(str(source), "two:t").unchanged
    assert not bodies(engine.two)


def test_what_an_interrupted_run_noted_is_neither_sent_nor_read_again(engine: Engine) -> None:
    wanted = {f"n/{number:03d}": data(2_000 + number, number) for number in range(40)} | {"z/large": data(20 * MIB, 99)}
    fill(engine.store("one"), wanted)
    engine.one.rules.append(Rule("status", "GET", "z/large", code=403, times=None))
    with pytest.raises(Transfer, match="1 object"):
        engine.sync("one:t", "two:t")
    engine.one.clear()
    engine.two.clear()
    result = engine.sync("one:t", "two:t")
    assert set(keys_of(engine)) == {"z/large"}
    assert (result.copied.files, result.kept.files) == (1, 40)
    assert not [request for request in engine.two.requests if request.method == "GET" and "/t/n/" in request.target]
    assert not [request for request in engine.one.requests if request.method == "GET" and "/t/n/" in request.target]


def test_a_target_that_another_tool_filled_is_hashed_and_taken_over(engine: Engine) -> None:
    """Bulk seeding: whole objects and one in parts of another size than ours."""
    wanted = {f"n/{number:02d}": data(3_000 + number, number) for number in range(30)} | {
        "large": data(18 * MIB, 5),
        "empty": b"",
    }
    fill(engine.store("one"), wanted)
    client = engine.client(engine.second)
    for path, body in wanted.items():
        place = {"Bucket": "engine-two", "Key": f"{engine.key}/t/{path}"}
        if path != "large":
            client.put_object(**place, Body=body)
            continue
        upload = {**place, "UploadId": client.create_multipart_upload(**place)["UploadId"]}
        parts = []
        for number, start in enumerate(range(0, len(body), 6 * MIB), 1):
            sent = client.upload_part(**upload, PartNumber=number, Body=body[start : start + 6 * MIB])
            parts.append({"PartNumber": number, "ETag": sent["ETag"]})
        client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    result = engine.sync("one:t", "two:t")
    assert not bodies(engine.two)
    assert (result.copied.files, result.kept.files, result.proof) == (0, len(wanted), "bytes")
    assert {line["origin"] for line in engine.inventory("two").values()} == {"adopted"}
    assert len(fetched(engine.one, "t/large")) == len(fetched(engine.two, "t/large")) == 3, "each side is read once, in ranges"
    assert engine.sync("one:t", "two:t").unchanged


@pytest.mark.parametrize("path", ["n/07", "large"])
def test_one_seeded_object_with_other_bytes_of_the_same_size_is_a_named_conflict(engine: Engine, path: str) -> None:
    """Trap Verification 3: size is never enough."""
    wanted = {f"n/{number:02d}": data(3_000 + number, number) for number in range(10)} | {"large": data(9 * MIB, 5)}
    fill(engine.store("one"), wanted)
    wrong = wanted | {path: wanted[path][:-1] + bytes([wanted[path][-1] ^ 1])}
    fill(engine.store("two"), wrong)
    with pytest.raises(Conflict, match=rf"1 object.*t/{path}"):
        engine.sync("one:t", "two:t")
    assert not bodies(engine.two)
    assert not engine.is_published("two")
    assert engine.contents("two") == wrong


def test_credentials_that_expire_in_the_midst_are_renewed_and_the_run_goes_on(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap Object stores 5. botocore renews those that end within ten minutes, and the run goes on with the next."""
    server, count, program = engine.second, tmp_path / "count", tmp_path / "keys.sh"
    keys = f'"AccessKeyId": "{server.key}", "SecretAccessKey": "{server.secret}"'
    program.write_text(
        f"echo x >> {count}\n"
        f"""printf '{{"Version": 1, {keys}, "Expiration": "%s"}}' "$(date -u -d '+20 seconds' +%Y-%m-%dT%H:%M:%SZ)"\n"""
    )
    config = tmp_path / "aws"
    config.write_text(f"[profile fleeting]\nregion = us-east-1\ncredential_process = /bin/sh {program}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    endpoint = engine.two.endpoint_url
    engine.add_store("fleeting", url=engine.url("two"), endpoint_url=endpoint, profile="fleeting", provider="seaweedfs")
    engine.two.rules.append(Rule("slow_request", "PUT", "partNumber=1", bytes_per_second=4 * MIB))
    wanted = {f"n/{number}": data(1_000 + number, number) for number in range(5)} | {"large": data(17 * MIB, 5)}
    fill(engine.store("one"), wanted)
    assert engine.sync("one:t", "fleeting:t").proof == "bytes"
    assert engine.contents("two") == wanted
    assert len(count.read_text().splitlines()) > 2
