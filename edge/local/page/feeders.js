// The site as its electrical plan: the fuse tree with what each feeder carries and may carry, and the charge points on it.

import { byId, duration, el, keyed, kilowatts, setClass, setText, standing } from "./dom.js";
import { T } from "./strings.js";

const TOTAL = 3; // of the four lanes
const UNEVEN_W = 500; // phases that differ by less are not worth a word

export function showFeeders(status) {
  const depth = new Map();
  for (const feeder of status.feeders) depth.set(feeder.id, (depth.get(feeder.parent) ?? -1) + 1);
  const list = byId("feeders");
  keyed(list, status.feeders, (feeder) => feeder.id, makeFeeder);
  status.feeders.forEach((feeder, index) => {
    const own = status.evses.filter((evse) => evse.feeder === feeder.id);
    updateFeeder(list.children[index], feeder, depth.get(feeder.id), own);
  });
}

export const way = (power) => (power < 0 ? T.exporting : T.importing);
export const limitOf = (feeder) => (feeder.power.value < 0 ? feeder.export_w : feeder.import_w)[TOTAL];
export const believed = (feeder) => ["good", "estimated"].includes(feeder.power.quality);

function makeFeeder(feeder) {
  return el(
    "li", {},
    el("div", { class: "row" }, el("strong", {}, feeder.id), el("span", { class: "amount" })),
    el("div", { class: "bar", role: "img" }, el("span", { class: "fill" })),
    el("div", { class: "row small" }, el("span", { class: "room" }), el("span", { class: "source" })),
    el("div", { class: "chips" }),
  );
}

function updateFeeder(node, feeder, depth, evses) {
  const power = feeder.power.value;
  const limit = limitOf(feeder);
  const percent = limit > 0 && power !== null ? Math.min(100, Math.round((Math.abs(power) / limit) * 100)) : 0;
  const load = percent >= 95 ? "full" : percent >= 80 ? "high" : "";
  const sure = believed(feeder);
  setClass(node, feeder.lost ? "feeder lost" : "feeder");
  node.style.setProperty("--depth", depth);
  setText(node.querySelector(".amount"), T.feederPower(sure ? `${kilowatts(Math.abs(power))} ${way(power)}` : T.unknown, kilowatts(limit)));
  const bar = node.querySelector(".bar");
  setClass(bar, `bar ${power < 0 ? "export" : ""} ${load}`);
  bar.setAttribute("aria-label", T.feederBar(feeder.id, sure ? percent : T.unknown));
  bar.querySelector(".fill").style.width = `${sure ? percent : 0}%`;
  setText(node.querySelector(".room"), room(feeder));
  setText(node.querySelector(".source"), source(feeder));
  const chips = node.querySelector(".chips");
  keyed(chips, evses, (evse) => evse.id, (evse) => el("a", { href: `#card-${evse.id}` }, el("strong", {}, evse.id), " ", el("span")));
  evses.forEach((evse, index) => updateChip(chips.children[index], evse));
}

// Each phase has a fuse of its own: told where they differ.
function room(feeder) {
  const lanes = feeder.room_import_w.slice(0, TOTAL);
  const uneven = Math.max(...lanes) - Math.min(...lanes) >= UNEVEN_W;
  const phases = uneven ? lanes.map((watts, index) => T.phase(index + 1, kilowatts(Math.max(0, watts)))) : [];
  return T.feederRoom(kilowatts(Math.max(0, feeder.room_import_w[TOTAL])), phases);
}

function source(feeder) {
  if (feeder.lost) return T.feederLost(feeder.meter, kilowatts(feeder.power.value), duration(feeder.power.age_ms));
  return feeder.meter === null ? T.feederEstimated : T.feederMeter(feeder.meter, duration(feeder.power.age_ms));
}

function updateChip(chip, evse) {
  const { power } = evse.values;
  const shown = power?.quality === "good" ? kilowatts(power.value) : T.unknown;
  const { level, text } = standing(evse);
  const mark = level === "ok" ? "" : ` ${text}`;
  setClass(chip, `chip ${level}`);
  setText(chip.querySelector("span"), `${shown}${mark}`);
  chip.setAttribute("aria-label", T.chip(evse.id, shown, text));
}
