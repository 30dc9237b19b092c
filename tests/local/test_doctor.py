"""Each check of the doctor: what it finds, and the remedy that belongs to it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edge.local import doctor
from edge.local.documents import CheckDoc
from edge.local.host import HostFacts, parse_cpu_list, probe
from edge.local.view import CertificateFacts, CoreFacts, Granted
from tests.local.fake_gateway import TS_MS, site

Check = Callable[[CoreFacts, bool], CheckDoc]
HOST = HostFacts("6.1.0-rt", True, 4, frozenset({1}), True, "/var/lib/v2g-edge", 20 << 30, 32 << 30)
CORE = site().core


def test_a_healthy_site_needs_no_remedy() -> None:
    document = doctor.doctor_doc(replace(site(), evses=site().evses[:2]), HOST)
    assert document["level"] == "ok"
    assert [check["remedy"] for check in document["checks"] if check["remedy"]] == []


def test_each_reason_that_holds_an_evse_back_is_named_with_its_remedy() -> None:
    first, *found = doctor.check_evses(site())
    assert first["text"].startswith("2 of 6 are told what is asked of them")
    assert [(check["name"], check["level"], check["text"].split("(")[1].split(")")[0]) for check in found] == [
        ("EVSE evse-3", "ok", "ERR_V2G_LIMIT_REACHED"),
        ("EVSE evse-4", "degraded", "THERMAL_DERATE"),
        ("EVSE evse-5", "degraded", "EVSE_LOST"),
        ("EVSE evse-6", "degraded", "LOCKOUT"),
    ]
    assert all(check["remedy"] for check in found)


def test_a_kernel_without_preempt_rt_is_named() -> None:
    check = doctor.check_kernel(replace(HOST, kernel="6.1.0", preempt_rt=False), lab=False)
    assert (check["level"], "linux-image-rt" in check["remedy"]) == ("degraded", True)


def test_refused_real_time_scheduling_is_accepted_on_a_bench_only() -> None:
    core = replace(CORE, scheduling="other", realtime=False)
    assert doctor.check_scheduling(core, lab=False)["level"] == "degraded"
    assert doctor.check_scheduling(core, lab=True)["level"] == "ok"


def test_a_limit_that_allows_real_time_while_the_cgroup_refuses_is_told_apart() -> None:
    refused = replace(CORE, scheduling="other", granted=Granted(fifo_error="Operation not permitted", rtprio_limit=0))
    assert "LimitRTPRIO" in doctor.check_scheduling(refused, lab=False)["remedy"]
    by_cgroup = replace(refused, granted=replace(refused.granted, rtprio_limit=95))
    assert "sched_rt_runtime_us" in doctor.check_scheduling(by_cgroup, lab=False)["remedy"]


@pytest.mark.parametrize(
    ("check", "granted", "remedy"),
    [
        (doctor.check_grant, Granted(user_mode_linux=True), "machine's own kernel"),
        (doctor.check_memory, Granted(memory_error="Cannot allocate memory"), "LimitMEMLOCK=infinity"),
        (doctor.check_wakeup, Granted(latency_error="Permission denied"), "60-v2g-edge.rules"),
        (doctor.check_wakeup, Granted(timer_slack_ns=50_000), "newer one"),
        (doctor.check_throttling, Granted(throttle_us=100_000), "sched_rt_runtime_us=950000"),
    ],
)
def test_what_the_kernel_did_not_grant_has_its_remedy(check: Check, granted: Granted, remedy: str) -> None:
    assert check(CORE, False)["level"] == "ok"
    found = check(replace(CORE, granted=granted), False)
    assert (found["level"], remedy in found["remedy"]) == ("degraded", True), found
    assert check(replace(CORE, granted=granted), True)["level"] == "ok", "a bench is told, not alarmed"


def test_a_cycle_that_meets_page_faults_is_told() -> None:
    assert "3 page faults" in doctor.check_memory(replace(CORE, page_faults=3), False)["text"]


def test_a_cycle_on_a_shared_core_is_told_the_kernel_options() -> None:
    check = doctor.check_core(CORE, replace(HOST, isolated_cpus=frozenset()), lab=False)
    assert "isolcpus=managed_irq,domain,1" in check["remedy"]


def test_a_cycle_that_is_not_pinned_is_told_the_config_key() -> None:
    assert doctor.check_core(replace(CORE, cpu=None), HOST, lab=False)["remedy"] == "set cycle.cpu in the config"


def test_a_lost_guard_is_a_fault() -> None:
    assert doctor.check_guard(replace(CORE, guard="lost"), lab=True)["level"] == "fault"


def test_a_bus_that_is_down_is_a_fault_with_its_detail() -> None:
    check = doctor.check_bus(replace(site().buses[0], up=False, detail="bus-off"))
    assert (check["level"], check["text"]) == ("fault", "can can0 is down: bus-off")


def test_a_lost_meter_is_named_with_address_and_error() -> None:
    check = doctor.check_meter(replace(site().meters[0], last_error="time-out after 50 ms"), lost=True)
    assert check["text"] == "10.0.0.5 unit 1 is lost: time-out after 50 ms"


@pytest.mark.parametrize(("known", "level"), [(True, "ok"), (False, "degraded"), (None, "degraded")])
def test_a_clock_that_nobody_synchronises_wants_a_look(known: bool | None, level: str) -> None:
    assert doctor.check_clock(replace(HOST, clock_synchronised=known))["level"] == level


@pytest.mark.parametrize(("days", "text"), [(200, "good for 200 days"), (12, "expires in 12 days"), (-3, "expired on 20")])
def test_a_certificate_says_how_long_it_lasts(days: int, text: str) -> None:
    check = doctor.check_certificate(CertificateFacts("gateway", "CN=site-1", TS_MS + days * doctor.DAY_MS), TS_MS)
    assert text in check["text"]
    assert bool(check["remedy"]) == (days < 30)


def test_a_full_disk_wants_room_for_the_outbox() -> None:
    check = doctor.check_disk(replace(HOST, disk_free_bytes=100 << 20))
    assert (check["level"], "512 MiB" in check["remedy"]) == ("degraded", True)


def test_a_broker_that_is_away_is_named_with_its_error() -> None:
    uplink = replace(site().uplink, state="connecting", last_error="certificate verify failed")
    check = doctor.check_uplink(uplink)
    assert check["text"] == "no connection to broker.example:8883: certificate verify failed"
    assert "openssl s_client -connect broker.example:8883" in check["remedy"]


def test_a_list_of_cpus_is_read_as_the_kernel_writes_it() -> None:
    assert parse_cpu_list("1,3-5\n") == {1, 3, 4, 5}
    assert parse_cpu_list("\n") == frozenset()


def test_the_machine_tells_about_itself_even_where_the_state_folder_is_missing(tmp_path: Path) -> None:
    facts = probe(tmp_path / "not" / "there")
    assert facts.disk_path == str(tmp_path)
    assert facts.disk_total_bytes >= facts.disk_free_bytes > 0
    assert facts.kernel
