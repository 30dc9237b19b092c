"""Messages as they are on the wire of a charging session: what the benchmark measures."""

from __future__ import annotations

from typing import Any

from edge.iso15118.exi import SchemaSet
from edge.iso15118.quantities import physical, rational

HEADER: dict[str, Any] = {"SessionID": bytes(range(1, 9)), "TimeStamp": 1_700_000_000}
HEADER_V2: dict[str, Any] = {"SessionID": bytes(range(1, 9))}


def dc_charge_loop_scheduled() -> dict[str, Any]:
    """The usual request of a car that follows a schedule, every half second."""
    return {
        "DC_ChargeLoopReq": {
            "Header": HEADER,
            "DisplayParameters": {"PresentSOC": 55, "TargetSOC": 80},
            "MeterInfoRequested": False,
            "EVPresentVoltage": rational(4012, -1),
            "Scheduled_DC_CLReqControlMode": {"EVTargetCurrent": rational(1250, -1), "EVTargetVoltage": rational(4200, -1)},
        }
    }


def dc_charge_loop_bidirectional() -> dict[str, Any]:
    """The largest request: dynamic control with all limits of both directions."""
    mode = {
        "DepartureTime": 7200,
        "EVTargetEnergyRequest": rational(20_000),
        "EVMaximumEnergyRequest": rational(30_000),
        "EVMinimumEnergyRequest": rational(-10_000),
        "EVMaximumChargePower": rational(15_000),
        "EVMinimumChargePower": rational(0),
        "EVMaximumChargeCurrent": rational(300, -1),
        "EVMaximumVoltage": rational(5000, -1),
        "EVMinimumVoltage": rational(2000, -1),
        "EVMaximumDischargePower": rational(11_000),
        "EVMinimumDischargePower": rational(0),
        "EVMaximumDischargeCurrent": rational(300, -1),
    }
    return {
        "DC_ChargeLoopReq": {
            "Header": HEADER,
            "DisplayParameters": {
                "PresentSOC": 55,
                "MinimumSOC": 20,
                "TargetSOC": 80,
                "BatteryEnergyCapacity": rational(60_000),
            },
            "MeterInfoRequested": False,
            "EVPresentVoltage": rational(4012, -1),
            "BPT_Dynamic_DC_CLReqControlMode": mode,
        }
    }


def schedule_exchange(entries: int) -> dict[str, Any]:
    """A schedule of quarter hours for one day, with price levels."""
    power = [{"Duration": 900, "Power": rational(11_000 - 10 * i)} for i in range(entries)]
    levels = [{"Duration": 900, "PriceLevel": i % 4} for i in range(entries)]
    price = {
        "TimeAnchor": 1_700_000_000,
        "PriceScheduleID": 1,
        "NumberOfPriceLevels": 4,
        "PriceLevelScheduleEntries": {"PriceLevelScheduleEntry": levels},
    }
    schedule = {
        "PowerSchedule": {"TimeAnchor": 1_700_000_000, "PowerScheduleEntries": {"PowerScheduleEntry": power}},
        "PriceLevelSchedule": price,
    }
    return {
        "ScheduleExchangeRes": {
            "Header": HEADER,
            "ResponseCode": "OK",
            "EVSEProcessing": "Finished",
            "Scheduled_SEResControlMode": {"ScheduleTuple": [{"ScheduleTupleID": 1, "ChargingSchedule": schedule}]},
        }
    }


def current_demand() -> dict[str, Any]:
    """The charge loop of ISO 15118-2."""
    request = {
        "DC_EVStatus": {"EVReady": True, "EVErrorCode": "NO_ERROR", "EVRESSSOC": 55},
        "EVTargetCurrent": {**physical(125), "Unit": "A"},
        "ChargingComplete": False,
        "EVTargetVoltage": {**physical(420), "Unit": "V"},
    }
    return {"V2G_Message": {"Header": HEADER_V2, "Body": {"CurrentDemandReq": request}}}


def handshake() -> dict[str, Any]:
    offers = [
        {"ProtocolNamespace": namespace, "VersionNumberMajor": 1, "VersionNumberMinor": 0, "SchemaID": i, "Priority": i}
        for i, namespace in enumerate(("urn:iso:std:iso:15118:-20:DC", "urn:iso:15118:2:2013:MsgDef"), 1)
    ]
    return {"supportedAppProtocolReq": {"AppProtocol": offers}}


SAMPLES: dict[str, tuple[SchemaSet, dict[str, Any]]] = {
    "supportedAppProtocolReq": (SchemaSet.SAP, handshake()),
    "DC_ChargeLoopReq": (SchemaSet.V20_DC, dc_charge_loop_scheduled()),
    "DC_ChargeLoopReq, bidirectional, all limits": (SchemaSet.V20_DC, dc_charge_loop_bidirectional()),
    "ScheduleExchangeRes, 24 entries": (SchemaSet.V20_COMMON, schedule_exchange(24)),
    "ScheduleExchangeRes, 1024 entries": (SchemaSet.V20_COMMON, schedule_exchange(1024)),
    "CurrentDemandReq (ISO 15118-2)": (SchemaSet.V2, current_demand()),
    "CurrentDemandReq (DIN 70121)": (SchemaSet.DIN, current_demand()),
}
