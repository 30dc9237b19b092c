"""The documents: shapes, schemas, golden files, and the three questions."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from edge.local import builders, docs, documents, view
from edge.local.doctor import doctor_doc
from edge.local.explain import find_next, row_findings
from edge.local.history import History
from edge.local.host import HostFacts
from edge.model import Reason
from tests.local.fake_gateway import EVENTS, MS, NOW_NS, FakeGateway, evse, plan, reading, readings, setpoint, site

ROOT = Path(__file__).parent.parent.parent
SCHEMAS = ROOT / "edge" / "local" / "schemas"
GOLDEN = Path(__file__).parent / "golden"
HOST = HostFacts("6.1.0-rt", True, 4, frozenset({1}), True, "/var/lib/v2g-edge", 20 << 30, 32 << 30)


def history() -> History:
    kept = History()
    kept.add(site())
    kept.add(site())
    return kept


def all_documents() -> dict[str, tuple[Any, Any]]:
    """Every document of the fake site, with its shape."""
    gateway, snapshot = FakeGateway(), site()
    chosen = builders.find_evse(snapshot, "evse-3")
    assert chosen is not None
    return {
        "status": (documents.StatusDoc, builders.status_doc(snapshot)),
        "evse": (documents.EvseDoc, builders.evse_doc(chosen, snapshot)),
        "explain": (documents.ExplainDoc, builders.explain_doc(chosen, gateway.explain("evse-3"), snapshot)),
        "events": (documents.EventsDoc, builders.events_doc(EVENTS, 0, snapshot)),
        "rt": (documents.RtDoc, builders.rt_doc(gateway.rt(), snapshot)),
        "sessions": (documents.SessionsDoc, builders.sessions_doc(gateway.sessions(), snapshot)),
        "history": (documents.HistoryDoc, history().document("evse-1", snapshot)),
        "doctor": (documents.DoctorDoc, doctor_doc(snapshot, HOST)),
    }


NAMES = sorted(all_documents())


@pytest.mark.parametrize("name", NAMES)
def test_a_document_has_exactly_the_shape_it_promises(name: str) -> None:
    shape, document = all_documents()[name]
    assert TypeAdapter(shape).validate_python(document, strict=True) == document, "an unknown key would be dropped, and differ"


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_file_of_a_document_is_current(name: str) -> None:
    shape, _ = all_documents()[name]
    written = json.dumps(TypeAdapter(shape).json_schema(), indent=1, ensure_ascii=False) + "\n"
    assert (SCHEMAS / f"{name}.json").read_text() == written, "run python -m tests.local.write_golden"


@pytest.mark.parametrize("name", NAMES)
def test_a_document_is_as_it_was_agreed(name: str) -> None:
    _, document = all_documents()[name]
    assert json.loads((GOLDEN / f"{name}.json").read_text()) == document, "run python -m tests.local.write_golden"


@pytest.mark.parametrize("name", NAMES)
def test_every_document_says_its_schema_boot_and_time(name: str) -> None:
    _, document = all_documents()[name]
    assert document["schema"] == f"v2g.{name}/1"
    assert document["boot"] == site().boot
    assert document["ts"] == site().ts_ms


def header_names(enum: str) -> list[str]:
    """The enumerators of one enum of the data sheet, in order."""
    text = (ROOT / "native" / "include" / "v2g.h").read_text()
    match = re.search(rf"enum {enum} {{(.*?)}};", text, re.S)
    assert match is not None
    return re.findall(r"\b(V2G_\w+)\b", re.sub(r"/\*.*?\*/", "", match[1], flags=re.S))


def test_the_fields_stand_in_the_order_of_the_data_sheet() -> None:
    evse_names = [name.removeprefix("V2G_F_").lower() for name in header_names("v2g_field") if name.startswith("V2G_F_")]
    meter_names = [name.removeprefix("V2G_M_").lower() for name in header_names("v2g_meter_field") if name.startswith("V2G_M_")]
    assert [info.name for info in view.EVSE_FIELDS] == evse_names
    assert [info.name for info in view.METER_FIELDS] == meter_names


def test_flags_and_latches_stand_in_the_order_of_the_data_sheet() -> None:
    assert [f"V2G_FLAG_{name.upper()}" for name in view.FLAGS] == header_names("v2g_flag")
    expected: list[str] = []
    for name in header_names("v2g_latch"):
        short = name.removeprefix("V2G_LATCH_").lower()
        expected += builders.THERMAL_LATCHES if short == "thermal" else [short]
    assert list(builders.LATCHES) == expected


def test_a_value_says_how_old_it_is_and_whether_it_may_be_believed() -> None:
    info = view.EVSE_FIELDS[3]
    fresh = builders.value_doc(reading(6320, 5, 900, 60), info, NOW_NS, NOW_NS)
    assert fresh == {"value": 63.2, "unit": "%", "age_ms": 5, "changed_ms": 900, "limit_ms": 60, "quality": "good"}
    assert builders.value_doc(reading(6320, 61, limit_ms=60), info, NOW_NS, NOW_NS)["quality"] == "stale"
    assert builders.value_doc(reading(None, 5, limit_ms=60), info, NOW_NS, NOW_NS)["quality"] == "invalid"
    assert builders.value_doc(view.Reading(None, None, None), info, NOW_NS, NOW_NS)["quality"] == "missing"
    assert builders.value_doc(replace(reading(1, 5), frozen=True), info, NOW_NS, NOW_NS)["quality"] == "frozen"


def test_a_value_stamped_in_the_future_is_not_believed() -> None:
    assert builders.value_doc(reading(6320, -10, limit_ms=60), view.EVSE_FIELDS[3], NOW_NS, NOW_NS)["quality"] == "stale"


def answer(**facts: Any) -> documents.AnswerDoc:
    return builders.evse_body(evse("evse-1", "row-a", **facts), site())["answer"]


def test_a_vehicle_at_its_floor_is_told_at_which_soc_it_discharges_again() -> None:
    told = answer(readings=readings(soc=2980), setpoint=setpoint(0, Reason.ERR_V2G_LIMIT_REACHED))
    assert told["binds"] == "SOC floor"
    assert told["next"] == "discharge again at SOC 32.0 % (now 29.8 %)"


def test_a_hot_connector_says_how_cool_it_must_become_and_for_how_long() -> None:
    told = answer(readings=readings(t_connector=912), setpoint=setpoint(0, Reason.THERMAL_STOP))
    assert told["next"] == "when connector temperature has been at or below 65.0 °C for 60 s (now 91.2 °C)"


def test_a_ramp_on_a_row_in_fallback_tells_what_must_come_back() -> None:
    stale = Reason.STALE_METER
    told = answer(setpoint=setpoint(3300, Reason.RAMP, stale, stale))
    assert told["binds"] == "ramp"
    assert told["next"].startswith("meter stale: when")


def test_a_connector_that_has_cooled_is_still_named_while_its_latch_holds() -> None:
    told = answer(readings=readings(t_connector=300, t_cell_max=440), latches=4, setpoint=setpoint(0, Reason.THERMAL_STOP))
    assert told["next"].startswith("when connector temperature has been at or below 65.0 °C for 60 s")


def test_a_silent_evse_says_since_when() -> None:
    told = answer(readings=readings(4210), setpoint=setpoint(0, Reason.EVSE_LOST))
    assert told["age"].startswith("last heard 4.2 s ago; 7 values not fresh")


def test_an_evse_that_never_spoke_has_no_age() -> None:
    never = dict.fromkeys(("state", "flags", "power"), view.Reading(None, None, None))
    body = builders.evse_body(evse("evse-1", "row-a", readings=never), site())
    assert body["age_ms"] is None
    assert body["answer"]["age"].startswith("never heard")


def test_a_limit_of_the_plan_names_who_set_it() -> None:
    assert answer(setpoint=setpoint(4200, Reason.PLAN_LIMIT))["binds"] == "limit of the plan (aggregator)"


def test_a_lost_meter_is_named_with_its_address_and_error() -> None:
    snapshot = site()
    feeders = [replace(f, lost=f.id == "row-b") for f in snapshot.feeders]
    meters = [replace(m, last_error="time-out after 50 ms") if m.id == "meter-b" else m for m in snapshot.meters]
    broken = replace(snapshot, feeders=feeders, meters=meters)
    status = builders.status_doc(broken)
    notice = next(n for n in status["notices"] if n["code"] == "STALE_METER")
    assert notice["text"] == "feeder row-b is in fallback: meter meter-b at 10.0.0.7 unit 1 is lost: time-out after 50 ms"
    below = evse("evse-4", "row-b", setpoint=setpoint(0, Reason.STALE_METER))
    assert "meter-b at 10.0.0.7 unit 1 (time-out after 50 ms)" in builders.evse_body(below, broken)["answer"]["next"]


def test_the_row_that_binds_is_marked_once_for_each_direction() -> None:
    _, document = all_documents()["explain"]
    assert [row["row"] for row in document["rows"] if row["discharge"]["binds"]] == [2]
    assert [row["row"] for row in document["rows"] if row["charge"]["binds"]] == [1]


def test_a_row_that_only_repeats_what_bound_before_tightens_nothing() -> None:
    """The core's last row is what the EVSE is told; only a ramp is its own doing."""
    limits = [(22000, Reason.RATING)] * 4 + [(134, Reason.SITE_LIMIT)] + [(22000, Reason.RATING)] * 2
    charge = [*limits, (134, Reason.SITE_LIMIT)]
    discharge = [(22000, Reason.RATING)] * 7 + [(0, Reason.RATING)]
    rows = [view.RowFacts(c[0], d[0], c[1], d[1]) for c, d in zip(charge, discharge, strict=True)]
    document = builders.explain_doc(evse("evse-1", "row-a"), view.Trace(22000, rows), site())
    assert [row["row"] for row in document["rows"] if row["charge"]["tightens"]] == [1, 5]
    assert [row["row"] for row in document["rows"] if row["discharge"]["tightens"]] == [1]
    assert [row["charge"]["limit_w"] for row in document["rows"]] == [22000] * 4 + [134] * 4


def test_a_site_at_its_limit_names_the_grid_connection() -> None:
    told = answer(setpoint=setpoint(5000, Reason.SITE_LIMIT))
    assert told["next"].startswith("when load on feeder main falls, then slowly (its EVSEs may draw 51000 W on all phases")


def test_lab_mode_no_real_time_and_a_hub_are_said_loudly() -> None:
    snapshot = site()
    bench = replace(
        snapshot,
        lab=True,
        core=replace(snapshot.core, realtime=False, scheduling="other", guard="off"),
        buses=[replace(snapshot.buses[0], transport="hub")],
    )
    assert [notice["code"] for notice in builders.status_doc(bench)["notices"]] == ["LAB", "NOT_REALTIME", "HUB"]


def test_what_a_bench_may_be_degrades_a_site() -> None:
    snapshot = site()
    core = replace(snapshot.core, realtime=False, scheduling="other", guard="off")
    on_site = builders.status_doc(replace(snapshot, core=core, evses=[]))
    assert on_site["level"] == "degraded"
    assert [notice["code"] for notice in on_site["notices"]] == ["NOT_REALTIME", "GUARD_OFF"]


def test_a_site_where_every_limit_just_does_its_work_is_ok() -> None:
    snapshot = site()
    assert builders.status_doc(replace(snapshot, evses=list(snapshot.evses)[:3]))["level"] == "ok"


def test_a_cycle_that_stands_still_is_a_fault() -> None:
    snapshot = site()
    core = replace(snapshot.core, heartbeat_ns=NOW_NS - 900 * MS)
    assert builders.status_doc(replace(snapshot, core=core))["notices"][0]["code"] == "CYCLE_STOPPED"


def test_a_grid_of_60_hz_under_a_config_for_50_is_a_fault_that_names_the_key() -> None:
    snapshot = site()
    control = replace(snapshot.site_control, nominal_mhz=50_000, frequency_mhz=60_010)
    notice = builders.status_doc(replace(snapshot, site_control=control))["notices"][0]
    assert (notice["level"], notice["code"]) == ("fault", "NOMINAL_FREQUENCY")
    assert notice["text"].startswith("the grid shows 60.01 Hz, but site.grid.nominal_hz is 50: droop")
    at_limit = replace(snapshot, site_control=replace(control, frequency_mhz=55_000))
    assert "NOMINAL_FREQUENCY" not in [n["code"] for n in builders.status_doc(at_limit)["notices"]]


def test_a_percentile_is_the_bound_of_its_bin_and_never_above_the_maximum() -> None:
    facts = view.HistogramFacts([1000, 2000, 4000], [90, 9, 1, 0], 3100, 0)
    assert [builders.percentile_ns(facts, share) for share in (0.5, 0.99, 0.999)] == [1000, 2000, 3100]
    assert builders.percentile_ns(view.HistogramFacts([1000], [0, 0], 0, 0), 0.99) == 0


def test_a_histogram_is_shown_in_bins_that_never_move() -> None:
    fine = view.HistogramFacts([900, 1100, 5_000_000, 90_000_000], [1, 2, 3, 4, 5], 120_000_000, 0)
    shown = builders.coarse(fine)
    assert shown.bounds_ns == builders.COARSE_BOUNDS_NS
    assert {bound: count for bound, count in zip(shown.bounds_ns, shown.counts, strict=False) if count} == {
        1000: 1,
        2000: 2,
        8_192_000: 3,
    }
    assert shown.counts[-1] == 9


def test_the_history_keeps_fifteen_minutes_and_forgets_what_left_the_site() -> None:
    kept = History()
    for _ in range(901):
        kept.add(site())
    assert len(kept.document("evse-1", site())["power_w"]) == 900
    kept.add(replace(site(), evses=[]))
    assert kept.document("evse-1", site())["power_w"] == []


@pytest.mark.parametrize(
    ("reserve", "by", "says"),
    [
        (8_000, "departure 07:30", "discharge again at SOC 82.0 %, the reserve for departure 07:30 (now 63.2 %)"),
        (10_000, "wear above the limit", "no discharge while it is barred (wear above the limit; SOC now 63.2 %)"),
        (2_000, "departure 07:30", "discharge again at SOC 32.0 % (now 63.2 %)"),
    ],
)
def test_who_is_at_the_reserve_of_a_departure_reads_so_and_not_the_floor(reserve: int, by: str, says: str) -> None:
    floor = Reason.ERR_V2G_LIMIT_REACHED
    one = evse(
        "evse-1", "row-a", setpoint=setpoint(0, floor, floor), plan=replace(plan(-5000), soc_floor=reserve, soc_floor_by=by)
    )
    assert find_next(floor, one, site()) == says
    facts = row_findings(2, [floor], one, site()).facts
    assert any("reserve" in fact for fact in facts) is (reserve > 3_000)


def test_the_reference_of_the_documents_is_current() -> None:
    page = docs.PAGE.read_text()
    assert docs.renewed(page) == page, "run python -m edge.local.docs"


def test_the_history_knows_what_came_within_the_second_and_nothing_older() -> None:
    kept = History()
    for age_ms in (5, 900, 1100):
        kept.add(replace(site(), evses=[evse("evse-1", "row-a", readings=readings(age_ms, power=8000))]))
    document = kept.document("evse-1", site())
    assert document["power_w"] == [8000, 8000, None]
    assert document["reasons"] == [{"first": 0, "code": "NONE"}]


def test_a_look_between_two_cycles_does_not_call_old_what_the_core_took_for_good() -> None:
    at_the_limit = replace(site(), evses=[evse("evse-1", "row-a", readings=readings(63))])
    power = builders.status_doc(at_the_limit)["evses"][0]["values"]["power"]
    assert (power["age_ms"], power["limit_ms"], power["quality"]) == (63, 60, "good"), "the last cycle ended 4 ms ago"
    stopped = replace(at_the_limit, core=replace(at_the_limit.core, heartbeat_ns=NOW_NS - 600 * MS))
    assert builders.status_doc(stopped)["evses"][0]["values"]["power"]["quality"] == "stale"
