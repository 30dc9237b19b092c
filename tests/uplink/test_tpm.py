"""The gateway's key lives in a TPM: it connects with it, goes on without it, and comes back with it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aggregator.devbroker import DevBroker
from edge.uplink.pki import make_development_pki
from tests.uplink.conftest import Dispatcher
from tests.uplink.tpm import running_tpm


def told(process: subprocess.Popen[str], wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first line of the process that is wanted."""
    assert process.stdout is not None
    for text in process.stdout:
        line: dict[str, Any] = json.loads(text)
        if wanted(line):
            return line
    raise AssertionError("the process ended")


def uplink_process(pki: Path, port: int, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.uplink.uplink_process", str(pki), "site-1", str(port)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def tpm_gone(directory: Path) -> dict[str, int]:
    """A session whose TPM goes away, a broker that restarts meanwhile, and the TPM's return: figures for `make chaos`."""
    pki = directory / "pki"
    make_development_pki(pki, ["other"])
    broker = DevBroker(directory / "broker", pki, {"site-1": ["evse-1", "evse-2"]})
    with running_tpm(directory / "t") as tpm, broker.running():
        tpm.make_identity(pki, "site-1")
        watcher = Dispatcher(broker.port, pki)
        process = uplink_process(pki, broker.port, tpm.environment)
        try:
            assert told(process, lambda line: line["connected"])["tls"] == "TLSv1.3"
            tpm.stop()
            seen = len(watcher.messages)
            wait_until(lambda: len(watcher.messages) > seen + 2)  # telemetry goes on: the session needs no key any more
            without_tpm = len(watcher.messages) - seen
            broker.stop()
            told(process, lambda line: not line["connected"])
            broker.start()  # the broker is back, but nobody can prove who we are
            told(process, lambda line: "the key lives in a TPM" in line["error"])
            tpm.start()
            tpm.wait_until_ready()
            process.kill()
            process.wait()
            process = uplink_process(pki, broker.port, tpm.environment)
            assert told(process, lambda line: line["connected"])["tls"] == "TLSv1.3"
        finally:
            process.kill()
            process.wait()
            watcher.close()
    return {"messages_while_tpm_gone": without_tpm, "tpm_reconnects": 1}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_key_in_the_tpm_connects_and_a_tpm_that_is_gone_ends_no_session(tmp_path: Path) -> None:
    assert tpm_gone(tmp_path)["messages_while_tpm_gone"] > 0


def test_a_key_of_a_tpm_is_worth_nothing_without_it(tmp_path: Path) -> None:
    make_development_pki(tmp_path / "pki", ["other"])
    with running_tpm(tmp_path / "t") as tpm:
        tpm.make_identity(tmp_path / "pki", "site-1")
    process = uplink_process(tmp_path / "pki", 1)
    assert "OPENSSL_CONF must name a file that activates the tpm2 provider" in told(process, lambda line: True)["refused"]
    process.wait(30)
