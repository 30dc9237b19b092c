"""The guard under a service manager: it says that it is ready and alive, and a restart takes back what it watched."""

from __future__ import annotations

from core_site import CoreSite, wait_until
from test_guard import GUARD, gateway, guarded, interleaved, watching

from hil.service_manager import ServiceManager


def managed(site: CoreSite) -> ServiceManager:
    return ServiceManager(site.folder, GUARD, "--socket", str(guarded(site)))


def test_a_guard_that_was_killed_takes_back_a_gateway_that_died_meanwhile(core_site: CoreSite) -> None:
    """Nobody tells the new guard anything: all that it has is what the service manager kept."""
    with managed(core_site) as manager, watching(core_site) as bus:
        manager.start()
        wait_until(lambda: "READY=1" in manager.said, "the guard is ready")
        with gateway(core_site, core_site.folder / "guard.sock", 71) as process:
            wait_until(bus.discharging, "evse-1 is discharged")
            wait_until(lambda: set(manager.store) == {"arena", "pidfd", "bus0", "config"}, "the store is filled")
            manager.kill()
            process.kill()
            process.wait()
            seen = len(bus.frames)
            manager.start()
            wait_until(lambda: len(bus.frames) > seen + 30, "the new guard sends")
            assert all(f.mode == 0 and f.target_w == 0 for f in bus.frames[seen + 5 :])
            wait_until(lambda: abs(bus.power_w) < 100, "evse-1 is at 0 W")
            assert bus.broken == 0
        assert "took back what it watched" in manager.stop()


def test_a_guard_that_was_killed_while_the_gateway_lives_goes_on_watching(core_site: CoreSite) -> None:
    with managed(core_site) as manager, watching(core_site) as bus:
        manager.start()
        wait_until(lambda: "READY=1" in manager.said, "the guard is ready")
        with gateway(core_site, core_site.folder / "guard.sock", 81) as process:
            wait_until(bus.discharging, "evse-1 is discharged")
            wait_until(lambda: "config" in manager.store, "the store is filled")
            manager.kill()
            manager.start()
            wait_until(lambda: manager.said.count("READY=1") == 2, "the guard is back")
            seen = len(bus.frames)
            wait_until(lambda: len(bus.frames) > seen + 30, "the gateway goes on")
            assert "took back what it watched" in manager.told()
            assert "sending" not in manager.told()
            process.kill()
            wait_until(lambda: "sending safe frames" in manager.told() and bus.frames[-1].mode == 0, "then it takes over")
            assert interleaved(bus) == []


def test_after_a_goodbye_nothing_is_kept(core_site: CoreSite) -> None:
    with managed(core_site) as manager, watching(core_site) as bus:
        manager.start()
        wait_until(lambda: "READY=1" in manager.said, "the guard is ready")
        with gateway(core_site, core_site.folder / "guard.sock", 91) as process:
            wait_until(bus.discharging, "evse-1 is discharged")
            assert process.stdin is not None
            process.stdin.write("stop\n")
            process.stdin.flush()
            assert process.wait(20) == 0
        wait_until(lambda: not manager.store, "the store is empty")
        assert "WATCHDOG=1" in manager.said


def test_a_guard_that_was_away_sends_nothing_beside_a_gateway_that_was_started_meanwhile(core_site: CoreSite) -> None:
    with managed(core_site) as manager, watching(core_site) as bus:
        manager.start()
        wait_until(lambda: "READY=1" in manager.said, "the guard is ready")
        socket = core_site.folder / "guard.sock"
        with gateway(core_site, socket, 101) as first:
            wait_until(lambda: "config" in manager.store, "the store is filled")
            manager.kill()
            first.kill()
            first.wait()
        socket.unlink()
        with gateway(core_site, socket, 102):
            wait_until(bus.discharging, "the second discharges, without a guard")
            seen = len(bus.frames)
            manager.start()
            wait_until(lambda: manager.said.count("READY=1") == 2, "the guard is back")
            wait_until(lambda: len(bus.frames) > seen + 100, "a second of commands")
            assert all(f.mode != 0 for f in bus.frames[seen:]), "the guard never sent"
        assert "another gateway was started meanwhile" in manager.stop()


def test_a_service_manager_that_does_not_read_is_told_again_and_costs_no_watching(core_site: CoreSite) -> None:
    """As in a long daemon-reload: one line, no flood; the gateway is watched meanwhile, and kept when it reads again."""
    with managed(core_site) as manager, watching(core_site) as bus:
        manager.start()
        wait_until(lambda: "READY=1" in manager.said, "the guard is ready")
        manager.listen(False)
        with gateway(core_site, core_site.folder / "guard.sock", 111) as process:
            wait_until(bus.discharging, "evse-1 is discharged")
            wait_until(lambda: "does not listen" in manager.told(), "the socket is full")
            wait_until(lambda: len(bus.frames) > 300, "three seconds of commands")
            assert "config" not in manager.store
            assert manager.told().count("\n") <= 3, "ready, watching, not listening"
            manager.listen(True)
            wait_until(lambda: set(manager.store) == {"arena", "pidfd", "bus0", "config"}, "the store is filled")
            process.kill()
            wait_until(lambda: bus.frames[-1].mode == 0, "the guard takes over")
        assert manager.told().count("listen") == 2, manager.told()


def test_a_gateway_whose_guard_is_there_tells_it_once(core_site: CoreSite) -> None:
    """To look whether the line stands must neither wait nor end it: what is kept is told for one commit, not for each look."""
    with managed(core_site) as manager, watching(core_site) as bus:
        manager.start()
        wait_until(lambda: "READY=1" in manager.said, "the guard is ready")
        with gateway(core_site, core_site.folder / "guard.sock", 121):
            wait_until(lambda: len(bus.frames) > 500, "five seconds of commands, some fifty looks")
            assert manager.said.count("FDSTORE=1") == 4, "arena, pidfd, bus0, config"
