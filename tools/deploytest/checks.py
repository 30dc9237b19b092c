"""What is looked at from outside: open ports, what the broker lets a certificate do, how the units are confined."""

from __future__ import annotations

import json
import re
import selectors
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tools.deploytest.machine import ADDRESS, DeployTestError, ssh
from tools.deploytest.site import BROKER_PORT, HOST

ANSWER_LIMIT_S = 90
SCAN_WAIT_S = 0.5
SCAN_AT_ONCE = 800
NO_SUBSCRIBER, NOT_AUTHORISED = 0x10, 0x87
"""MQTT 5, reason codes of PUBACK."""


def open_ports(source: str, ports: range = range(1, 65536)) -> set[int]:
    """TCP ports of the gateway that take a connection from this address of ours."""
    return {port for first in range(0, len(ports), SCAN_AT_ONCE) for port in _scan(source, ports[first : first + SCAN_AT_ONCE])}


def _scan(source: str, ports: range) -> Iterator[int]:
    """All at once; a packet that is dropped is never answered, so whoever has not answered when the time is over is closed."""
    with ExitStack() as stack:
        answers = stack.enter_context(selectors.DefaultSelector())
        for port in ports:
            line = stack.enter_context(socket.socket())
            line.setblocking(False)
            line.bind((source, 0))
            line.connect_ex((ADDRESS, port))
            answers.register(line, selectors.EVENT_WRITE, port)
        time.sleep(SCAN_WAIT_S)
        for key, _ in answers.select(0):
            assert isinstance(key.fileobj, socket.socket)
            if key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                yield key.data


def security_scores(key: Path, units: tuple[str, ...]) -> dict[str, float]:
    """`systemd-analyze security`: 0 confined, 10 open."""
    scores = {}
    for unit in units:
        line = ssh(key, f"systemd-analyze --no-pager security {unit} | grep Overall")
        found = re.search(r"([0-9.]+) [A-Z]+", line)
        if found is None:
            raise DeployTestError(f"systemd-analyze security {unit} says '{line}'")
        scores[unit] = float(found[1])
    return scores


def status(key: Path) -> dict[str, Any]:
    """`edgectl status --json`, as soon as it answers; its exit code tells the level, which is judged by who asks."""
    deadline = time.monotonic() + ANSWER_LIMIT_S
    while not (said := ssh(key, "edgectl status --json; true")):
        if time.monotonic() > deadline:
            raise DeployTestError("the gateway does not answer")
        time.sleep(1)
    document: dict[str, Any] = json.loads(said)
    return document


def running(key: Path) -> tuple[str, str]:
    """Which release runs, and in which life of its process; DeployTestError when its cycle stands still."""
    first = status(key)
    time.sleep(1)
    second = status(key)
    if second["boot"] == first["boot"] and second["core"]["cycles"] <= first["core"]["cycles"]:
        raise DeployTestError("the cycle stands still")
    return ssh(key, "readlink /opt/v2g-edge/current").strip(), second["boot"]


def publish_reason(folder: Path, name: str, topic: str) -> int:
    """The broker's answer to a publication (QoS 1) with the certificate `name` of `folder`: 0, or why not."""
    reasons: list[int] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"deploy-test-{name}", protocol=mqtt.MQTTv5)
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(str(folder / f"{name}.crt"), str(folder / f"{name}.key"))
    client.tls_set_context(context)
    client.on_publish = lambda _client, _data, _mid, reason, _properties: reasons.append(reason.value)

    def publish(*_: object) -> None:
        client.publish(topic, b"", qos=1)

    client.on_connect = publish
    client.connect(ADDRESS, BROKER_PORT, keepalive=15)
    deadline = time.monotonic() + 15
    while not reasons and time.monotonic() < deadline:
        client.loop(0.2)
    client.disconnect()
    if not reasons:
        raise DeployTestError(f"no answer of {HOST}'s broker to a publication on {topic}")
    return reasons[0]
