"""The way to the aggregator: MQTT 5 over TLS 1.3, signed commands, acks and telemetry."""

from edge.uplink.clock import Clock
from edge.uplink.commands import CommandHandler, CommandSink, Progress, Reception
from edge.uplink.errors import UplinkError
from edge.uplink.keys import load_command_keys
from edge.uplink.ledger import CommandLedger, LostLedger, MemoryLedger, SqliteLedger
from edge.uplink.mqtt import UplinkSettings
from edge.uplink.outbox import Outbox
from edge.uplink.uplink import Uplink, UplinkStatus, running
from edge.uplink.worker import Storage

__all__ = [
    "Clock",
    "CommandHandler",
    "CommandLedger",
    "CommandSink",
    "LostLedger",
    "MemoryLedger",
    "Outbox",
    "Progress",
    "Reception",
    "SqliteLedger",
    "Storage",
    "Uplink",
    "UplinkError",
    "UplinkSettings",
    "UplinkStatus",
    "load_command_keys",
    "running",
]
