"""The programs of the aggregator against a gateway's uplink at a real broker."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

from click.testing import CliRunner

from aggregator.main import main
from aggregator.store import Store
from edge import wire
from edge.uplink import running
from edge.wire import topics
from tests.uplink.conftest import until


async def program(config: Path, *arguments: str) -> tuple[int, str, str]:
    """Run a short program in this process, beside the uplink's event loop: exit code, stdout, stderr."""
    result = await asyncio.to_thread(CliRunner().invoke, main, ["--config", str(config), *arguments])
    return result.exit_code, result.stdout, result.stderr


async def start_run(config: Path) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "aggregator.main", "--config", str(config), "run"]
    return await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)


async def listening(process: asyncio.subprocess.Process) -> None:
    assert process.stderr is not None
    line = await asyncio.wait_for(process.stderr.readline(), 60)
    assert b"listening" in line, line


async def told(process: asyncio.subprocess.Process, text: str) -> None:
    assert process.stderr is not None
    while text not in (await process.stderr.readline()).decode():
        pass


async def test_a_dispatch_is_obeyed_and_its_trip_is_printed(config, uplink, dispatcher, gateway, tmp_path) -> None:
    async with running(uplink):
        await dispatcher.message(topics.birth("site-1"))
        assert (await program(config, "devices", "authorize", "evse-1", "--site", "site-1"))[0] == 0
        code, out, err = await program(config, "dispatch", "--evse", "evse-1", "--power", "-5000", "--valid", "30", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["outcome"] == "applied"
    assert report["trip_ms"]["issued_to_confirmed"] >= report["trip_ms"]["issued_to_received"] >= 0
    assert gateway.arbiter.renew(0).evses["evse-1"].target_w == -5000
    assert json.loads((tmp_path / "v2g-dispatch.log").read_text())["id"] == report["id"]
    code, out, _ = await program(config, "latency")
    assert (code, json.loads(out)["outcome"]) == (0, "applied")


async def test_a_site_target_reaches_the_sites_root_feeder(config, uplink, dispatcher, gateway) -> None:
    async with running(uplink):
        await dispatcher.message(topics.birth("site-1"))
        code, out, err = await program(config, "dispatch", "--site", "site-1", "--power", "-12000")
    assert code == 0, err
    assert out.startswith("applied by site site-1")
    assert gateway.arbiter.renew(0).feeders["main"].target_w == -12_000


async def test_a_fleet_target_is_shared_out_over_the_authorized_evses(config, uplink, dispatcher, gateway, tmp_path) -> None:
    gateway.soc = 6_000
    worker = await start_run(config)
    await listening(worker)
    store = Store(f"sqlite:///{tmp_path}/aggregator.db")
    async with running(uplink):
        await until(lambda: len(store.devices()) == 2 and len(store.latest()) == 2)
        assert (await program(config, "devices", "authorize", "evse-1", "--weight", "1"))[0] == 0
        assert (await program(config, "devices", "authorize", "evse-2", "--weight", "3"))[0] == 0
        code, out, err = await program(config, "fleet", "--power", "-8000")
        changed = config.read_text() + "min_soc_threshold: 70\n"
        config.write_text(changed)
        worker.send_signal(signal.SIGHUP)
        assert (await program(config, "fleet", "--power", "-8000"))[0] == 1  # nobody is above the new threshold
        await asyncio.wait_for(told(worker, "min_soc_threshold 70"), 30)
    assert code == 0, err + out
    plan = gateway.arbiter.renew(0)
    assert {evse: plan.evses[evse].target_w for evse in plan.evses} == {"evse-1": -2_000, "evse-2": -6_000}
    worker.terminate()
    await asyncio.wait_for(worker.wait(), 30)


async def test_an_evse_that_is_not_authorized_is_not_dispatched(config, broker) -> None:
    code, _, err = await program(config, "dispatch", "--evse", "evse-1", "--power", "1")
    assert code == 2 and "evse-1 is not in authorized_devices" in err


async def test_a_site_that_does_not_answer_is_reported(config, broker) -> None:
    code, out, _ = await program(config, "dispatch", "--site", "site-1", "--power", "1", "--wait", "0.2")
    assert code == 2 and out.startswith("no answer from site site-1")


async def test_a_refused_dispatch_says_why(config, uplink, dispatcher) -> None:
    async with running(uplink):
        await dispatcher.message(topics.birth("site-1"))
        code, out, _ = await program(config, "dispatch", "--site", "site-1", "--min", "500")
    assert code == 1 and "unsupported (bounds_without_zero)" in out


async def test_run_stores_telemetry_births_acks_and_history_and_confirms_with_the_watermark(
    config, uplink, dispatcher, orders, tmp_path
) -> None:
    worker = await start_run(config)
    await listening(worker)
    async with running(uplink):
        await dispatcher.message(topics.telemetry("evse-1"))
        records = [wire.Record(seq=n, ts=0, kind="event", event="X") for n in (3, 4, 6)]  # type: ignore[call-arg]
        uplink._publish(topics.history("site-1"), wire.History(first=3, records=records).encode(), qos=1)

        def watermark(seq: int) -> bool:
            sent = [m for m in dispatcher.messages if m.topic == topics.watermark("site-1")]
            return any(wire.Watermark.decode(m.payload).seq == seq for m in sent)

        await until(lambda: watermark(6))
    store = Store(f"sqlite:///{tmp_path}/aggregator.db")
    await until(lambda: store.sites() == [("site-1", False)])
    worker.send_signal(signal.SIGTERM)
    await asyncio.wait_for(worker.wait(), 30)
    assert {device.evse: device.authorized for device in store.devices()} == {"evse-1": False, "evse-2": False}
    assert store.latest()["evse-1"]["site"] == "site-1"
    assert [seq for seq, _, _ in store.records("site-1")] == [3, 4, 6]
    assert store.history_lost("site-1") == 0


async def test_watch_prints_decoded_messages_as_json_lines(config, uplink, dispatcher, orders) -> None:
    async with running(uplink):
        await dispatcher.message(topics.birth("site-1"))
        watcher = asyncio.create_task(program(config, "watch", "--count", "1", "--topic", topics.birth("+")))
        code, out, _ = await watcher
        assert code == 0
        line = json.loads(out)
        assert line["topic"] == topics.birth("site-1") and line["message"]["boot"] == "boot-1"


async def test_a_broken_config_is_one_line_with_file_and_key(tmp_path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("broker: {port: 99999}\n")
    code, _, err = await program(bad, "run")
    assert code == 2 and err.count("\n") == 1 and f"{bad}: broker.port" in err
    bad.write_text("broker: {host: localhost, ca: /nowhere/ca.crt}\ndatabase: 'sqlite://'\n")
    code, _, err = await program(bad, "watch")
    assert code == 2 and "/nowhere/ca.crt can't be read" in err
