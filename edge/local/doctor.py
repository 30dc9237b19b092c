"""The doctor: one small pure function per check, each with the remedy that belongs to what it found."""

from __future__ import annotations

from collections.abc import Sequence

from edge.local.builders import age_text, held_back_by, link_age_ms
from edge.local.documents import CheckDoc, DoctorDoc
from edge.local.explain import find_next
from edge.local.host import HostFacts
from edge.local.view import BusFacts, CertificateFacts, CoreFacts, EvseFacts, MeterFacts, Snapshot, UplinkFacts
from edge.model.catalogue import reason_info, worst
from edge.model.codeinfo import Level
from edge.model.reason import Reason
from edge.model.when import utc_text

DISK_FREE_BYTES = 512 * 1024 * 1024
"""The outbox may grow to 512 MiB (72 h without the aggregator); less free space than that loses history."""
FIFO_PRIORITY = 80
"""Of the cycle."""
MAX_SLACK_NS = 1000
THROTTLE_PERCENT = 90
"""The cycle takes a few percent; what is left is for the Modbus engines in a storm."""
DAY_MS = 86_400_000
CERTIFICATE_DAYS = 30
"""Time enough to plan a visit before a certificate expires."""


def _check(name: str, level: Level, text: str, remedy: str = "") -> CheckDoc:
    return {"name": name, "level": level.value, "text": text, "remedy": remedy}


def check_kernel(host: HostFacts, lab: bool) -> CheckDoc:
    if host.preempt_rt:
        return _check("kernel", Level.OK, f"{host.kernel} is PREEMPT_RT")
    text = f"{host.kernel} is not PREEMPT_RT: cycles may be late under load"
    return _check(
        "kernel", Level.OK if lab else Level.DEGRADED, text, "apt-get install linux-image-rt-amd64 (or -arm64), reboot"
    )


def check_scheduling(core: CoreFacts, lab: bool) -> CheckDoc:
    if core.scheduling == "fifo":
        return _check("scheduling", Level.OK, "SCHED_FIFO was granted to the cycle")
    text = "SCHED_FIFO was refused: the gateway is not real-time and " + (
        "says so (lab: true)" if lab else "does not discharge"
    )
    remedy = "start it by its unit file (LimitRTPRIO=95, or CAP_SYS_NICE); in a container allow both"
    if core.granted.rtprio_limit >= FIFO_PRIORITY:
        remedy = "its limit allows it, its cgroup does not (CONFIG_RT_GROUP_SCHED): sysctl kernel.sched_rt_runtime_us=-1"
    return _check("scheduling", Level.OK if lab else Level.DEGRADED, text, remedy)


def check_grant(core: CoreFacts, lab: bool) -> CheckDoc:
    """A kernel that says yes and doesn't mean it."""
    if not core.granted.user_mode_linux:
        return _check("grant", Level.OK, "the kernel runs on the machine itself")
    text = "User-Mode Linux: SCHED_FIFO is granted in name, nothing is preempted for it"
    return _check("grant", Level.OK if lab else Level.DEGRADED, text, "use a machine's own kernel; here judge behaviour only")


def check_memory(core: CoreFacts, lab: bool) -> CheckDoc:
    granted = core.granted
    level = Level.OK if lab else Level.DEGRADED
    if granted.memory_error:
        return _check("memory", level, f"memory is not locked: {granted.memory_error}", "set LimitMEMLOCK=infinity in its unit")
    if core.page_faults:
        text = f"the cycle has met {core.page_faults} page faults since it began"
        return _check("memory", level, text, "look for memory pressure (free -m, swap); keep the output of edgectl bundle")
    return _check("memory", Level.OK, "memory is locked, the cycle meets no page fault")


def check_wakeup(core: CoreFacts, lab: bool) -> CheckDoc:
    granted = core.granted
    level = Level.OK if lab else Level.DEGRADED
    if granted.latency_error:
        text = f"idle cores may sleep deeply, waking up takes longer: /dev/cpu_dma_latency: {granted.latency_error}"
        return _check(
            "wake-up", level, text, "install deploy/udev/60-v2g-edge.rules, or boot with processor.max_cstate=1 idle=poll"
        )
    if granted.timer_slack_ns > MAX_SLACK_NS:
        text = f"timers are gathered over {granted.timer_slack_ns} ns"
        return _check("wake-up", level, text, "this kernel ignores PR_SET_TIMERSLACK: use a newer one")
    return _check("wake-up", Level.OK, "no core sleeps deeply, timers fire when they are due")


def check_throttling(core: CoreFacts, lab: bool) -> CheckDoc:
    granted = core.granted
    if granted.throttle_us is None:
        return _check("throttling", Level.OK, "real-time threads may run as long as they like")
    percent = 100 * granted.throttle_us // max(1, granted.throttle_period_us)
    text = f"real-time threads may use {percent} % of a core"
    if percent >= THROTTLE_PERCENT:
        return _check("throttling", Level.OK, text)
    remedy = "sysctl kernel.sched_rt_runtime_us=950000 (the kernel's default)"
    return _check("throttling", Level.OK if lab else Level.DEGRADED, text, remedy)


def check_core(core: CoreFacts, host: HostFacts, lab: bool) -> CheckDoc:
    level = Level.OK if lab else Level.DEGRADED
    if core.cpu is None:
        return _check("cpu", level, f"the cycle is not pinned to one of {host.cpus} CPUs", "set cycle.cpu in the config")
    if core.cpu in host.isolated_cpus:
        return _check("cpu", Level.OK, f"the cycle runs on CPU {core.cpu}, which is isolated")
    text = f"the cycle runs on CPU {core.cpu}, which is not isolated"
    return _check(
        "cpu",
        level,
        text,
        f"add isolcpus=managed_irq,domain,{core.cpu} nohz_full={core.cpu} to the kernel command line, reboot",
    )


def check_guard(core: CoreFacts, lab: bool) -> CheckDoc:
    if core.guard == "alive":
        return _check("guard", Level.OK, "v2g-guard is alive")
    if core.guard == "lost":
        return _check("guard", Level.FAULT, "v2g-guard is gone", "systemctl restart v2g-edge, and keep its log")
    text = "no guard watches the cycle"
    return _check("guard", Level.OK if lab else Level.DEGRADED, text, "set guard.required: true in the config")


def check_bus(bus: BusFacts) -> CheckDoc:
    name = f"bus {bus.id}"
    where = f"{bus.kind} {bus.channel}".strip()
    if not bus.up:
        detail = f": {bus.detail}" if bus.detail else ""
        return _check(name, Level.FAULT, f"{where} is down{detail}", "check adapter, cable, termination; ip -details link show")
    load = f", load {bus.load_percent:.0f} %" if bus.load_percent is not None else ""
    where += ", through python-can, not real-time" if bus.transport == "python-can" else ""
    text = f"{where} is up: {bus.frames_in} in, {bus.frames_out} out, {bus.errors} errors{load}"
    if bus.detail.split(",")[0] in ("warning", "passive"):
        return _check(
            name, Level.DEGRADED, f"{text}; {bus.detail}", "check cable, termination and bit rate: frames are damaged"
        )
    return _check(name, Level.OK, f"{text}; {bus.detail}" if bus.kind == "can" and bus.detail else text)


def check_meter(meter: MeterFacts, lost: bool) -> CheckDoc:
    name = f"meter {meter.id}"
    if not lost:
        return _check(name, Level.OK, f"{meter.device}: {meter.reads} reads, {meter.failures} failures")
    error = f": {meter.last_error}" if meter.last_error else ""
    remedy = "check its supply, cable, address and unit id; if it refuses requests, its profile in the config"
    return _check(name, Level.DEGRADED, f"{meter.device} is lost{error}", remedy)


def check_evse(evse: EvseFacts, reason: Reason, snapshot: Snapshot) -> CheckDoc:
    """One reason that holds an EVSE back, with the remedy of the catalogue."""
    info = reason_info(reason)
    heard = f"{evse.device}, {age_text(link_age_ms(evse, snapshot.now_ns))}"
    text = f"{heard}: {info.title} ({info.code}); next: {find_next(reason, evse, snapshot)}"
    return _check(f"EVSE {evse.id}", info.level, text, info.remedy)


def check_evses(snapshot: Snapshot) -> list[CheckDoc]:
    """A line for each reason that holds an EVSE back, and one for all other EVSEs together."""
    held_back = [(evse, reason) for evse in snapshot.evses for reason in held_back_by(evse)]
    free = len(snapshot.evses) - len({evse.id for evse, _ in held_back})
    text = f"{free} of {len(snapshot.evses)} are told what is asked of them, within rating and plan"
    return [_check("EVSEs", Level.OK, text), *(check_evse(evse, reason, snapshot) for evse, reason in held_back)]


def check_clock(host: HostFacts, distrust: str = "") -> CheckDoc:
    """`distrust`: why the gateway doesn't believe the clock; empty: it does, or isn't there to be asked."""
    if distrust:
        remedy = "set the clock, then let chrony or systemd-timesyncd keep it: timedatectl timesync-status"
        return _check("clock", Level.DEGRADED, f"commands are refused: {distrust}", remedy)
    if host.clock_synchronised:
        return _check("clock", Level.OK, "the clock is synchronised")
    text = "the clock is not synchronised: commands and schedules by wall time are refused"
    if host.clock_synchronised is None:
        text = "the kernel does not tell whether the clock is synchronised"
    return _check("clock", Level.DEGRADED, text, "timedatectl timesync-status; check NTP server and UDP port 123")


def check_certificate(certificate: CertificateFacts, ts_ms: int) -> CheckDoc:
    name = f"certificate {certificate.name}"
    days = (certificate.not_after_ms - ts_ms) // DAY_MS
    if days < 0:
        remedy = "renew it with the play rotate-keys.yml, then edgectl reload; if the clock is wrong, correct the clock"
        text = f"{certificate.subject} expired on {utc_text(certificate.not_after_ms)}"
        return _check(name, Level.DEGRADED, text, remedy)
    if days < CERTIFICATE_DAYS:
        text = f"{certificate.subject} expires in {days} days"
        return _check(name, Level.DEGRADED, text, "renew it with the play rotate-keys.yml")
    return _check(name, Level.OK, f"{certificate.subject} is good for {days} days")


def check_disk(host: HostFacts) -> CheckDoc:
    free_mib, total_mib = host.disk_free_bytes >> 20, host.disk_total_bytes >> 20
    text = f"{host.disk_path}: {free_mib} MiB free of {total_mib}"
    if host.disk_free_bytes >= DISK_FREE_BYTES:
        return _check("disk", Level.OK, text)
    return _check("disk", Level.DEGRADED, text, f"free at least {DISK_FREE_BYTES >> 20} MiB: journalctl --vacuum-size=100M")


def check_uplink(uplink: UplinkFacts) -> CheckDoc:
    if uplink.state == "off":
        return _check("broker", Level.OK, "no uplink in the config: the site runs on its own")
    if uplink.state == "connected":
        return _check("broker", Level.OK, f"connected to {uplink.broker} with {uplink.tls_version}")
    error = f": {uplink.last_error}" if uplink.last_error else ""
    remedy = f"openssl s_client -connect {uplink.broker} -tls1_3 shows where it ends: name, route, port, certificate"
    return _check("broker", Level.DEGRADED, f"no connection to {uplink.broker}{error}", remedy)


def host_checks(host: HostFacts, lab: bool = False, clock_distrust: str = "") -> list[CheckDoc]:
    """What can be said of the machine; the last two are what a daemon adds."""
    return [check_kernel(host, lab), check_clock(host, clock_distrust), check_disk(host)]


def gateway_checks(snapshot: Snapshot, host: HostFacts) -> list[CheckDoc]:
    core, lab = snapshot.core, snapshot.lab
    lost_meters = {feeder.meter for feeder in snapshot.feeders if feeder.lost}
    return [
        check_scheduling(core, lab),
        check_grant(core, lab),
        check_memory(core, lab),
        check_wakeup(core, lab),
        check_throttling(core, lab),
        check_core(core, host, lab),
        check_guard(core, lab),
        *(check_bus(bus) for bus in snapshot.buses),
        *(check_meter(meter, meter.id in lost_meters) for meter in snapshot.meters),
        *check_evses(snapshot),
        check_uplink(snapshot.uplink),
        *(check_certificate(certificate, snapshot.ts_ms) for certificate in snapshot.uplink.certificates),
    ]


def overall(checks: Sequence[CheckDoc]) -> Level:
    return worst(*(Level(check["level"]) for check in checks))


def doctor_doc(snapshot: Snapshot, host: HostFacts) -> DoctorDoc:
    checks = [*host_checks(host, snapshot.lab, snapshot.uplink.clock_distrust), *gateway_checks(snapshot, host)]
    return {
        "schema": "v2g.doctor/1",
        "boot": snapshot.boot,
        "ts": snapshot.ts_ms,
        "level": overall(checks).value,
        "checks": checks,
    }
