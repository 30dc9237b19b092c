// The site in a few figures: what flows where, what is asked of it, and whether the gateway itself is well.

import { byId, duration, el, keyed, kilowatts, setClass, setText } from "./dom.js";
import { believed, limitOf, way } from "./feeders.js";
import { T } from "./strings.js";

export function showTiles(status) {
  const tiles = [grid(status.feeders[0]), evses(status.evses), otherLoad(status), target(status.site_control), uplink(status.uplink), cycle(status.core)].filter(Boolean);
  const list = byId("tiles");
  keyed(list, tiles, (tile) => tile.title, (tile) => el("div", {}, el("dt", {}, tile.title), el("dd"), el("dd", { class: "small" })));
  tiles.forEach((tile, index) => {
    const [, value, more] = list.children[index].children;
    setText(value, tile.value);
    setText(more, tile.more);
    setClass(list.children[index], tile.look ? "tile look" : "tile");
  });
}

function grid(feeder) {
  const power = believed(feeder) ? feeder.power.value : null;
  const value = power === null ? T.unknown : kilowatts(Math.abs(power));
  return { title: T.tiles.grid, value, more: T.gridLimit(way(power ?? 0), kilowatts(limitOf(feeder))), look: feeder.lost };
}

function evses(all) {
  const powers = all.map((evse) => evse.values.power?.value ?? 0);
  const sum = powers.reduce((total, power) => total + power, 0);
  const charging = powers.filter((power) => power > 0).length;
  const discharging = powers.filter((power) => power < 0).length;
  return { title: T.tiles.evses, value: kilowatts(sum), more: T.busy(charging, discharging, all.length) };
}

function otherLoad(status) {
  const feeder = status.feeders[0];
  if (feeder.meter === null) return null;
  const known = believed(feeder) && feeder.power.value !== null;
  return { title: T.tiles.other, value: known ? kilowatts(feeder.power.value - feeder.evse_power_w) : T.unknown, more: T.otherLoad };
}

// What site control follows, and the grid as its meter sees it.
function target(site) {
  const parts = [];
  if (site.target_w !== null) parts.push(T.measured(kilowatts(site.measured_w)));
  if (site.frequency_hz !== null) parts.push(T.frequency(site.frequency_hz));
  if (site.service !== "in") parts.push(T.service(site.service, site.reason.code));
  if (site.waiting_evses > 0) parts.push(T.waiting(site.waiting_evses));
  return { title: T.tiles.target, value: site.target_w === null ? T.noTarget : kilowatts(site.target_w), more: parts.join(" · "), look: site.service !== "in" };
}

function uplink(facts) {
  const age = facts.command_age_ms === null ? null : duration(facts.command_age_ms);
  const more = facts.state === "off" ? T.uplinkOff : `${facts.broker}${facts.tls_version ? ` ${facts.tls_version}` : ""} · ${T.command(age)}`;
  return { title: T.tiles.uplink, value: T.uplinkStates[facts.state], more, look: facts.state === "connecting" };
}

function cycle(core) {
  const more = T.cycleMore(core.state, core.missed, core.guard, duration(core.plan_age_ms));
  return { title: T.tiles.cycle, value: T.cycle(core.period_us / 1000, core.scheduling), more, look: core.state !== "run" };
}
