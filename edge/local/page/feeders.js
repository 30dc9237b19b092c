// The fuse tree: what each feeder carries and what it may carry.

import { byId, duration, el, keyed, kilowatts, setClass, setText } from "./dom.js";
import { T } from "./strings.js";

const TOTAL = 3; // of the four lanes

export function showFeeders(status) {
  const depth = new Map();
  for (const feeder of status.feeders) depth.set(feeder.id, (depth.get(feeder.parent) ?? -1) + 1);
  const list = byId("feeders");
  keyed(list, status.feeders, (feeder) => feeder.id, makeFeeder);
  status.feeders.forEach((feeder, index) => updateFeeder(list.children[index], feeder, depth.get(feeder.id)));
}

function makeFeeder(feeder) {
  return el(
    "li", {},
    el("div", { class: "row" }, el("strong", {}, feeder.id), el("span", { class: "amount" })),
    el("div", { class: "bar", role: "img" }, el("span", { class: "fill" })),
    el("div", { class: "row small" }, el("span", { class: "room" }), el("span", { class: "source" })),
  );
}

function updateFeeder(node, feeder, depth) {
  const power = feeder.power.value;
  const limit = power < 0 ? feeder.export_w[TOTAL] : feeder.import_w[TOTAL];
  const percent = limit > 0 && power !== null ? Math.min(100, Math.round((Math.abs(power) / limit) * 100)) : 0;
  const load = percent >= 95 ? "full" : percent >= 80 ? "high" : "";
  setClass(node, feeder.lost ? "feeder lost" : "feeder");
  node.style.setProperty("--depth", depth);
  const believed = ["good", "estimated"].includes(feeder.power.quality);
  setText(node.querySelector(".amount"), T.feederPower(believed ? kilowatts(power) : T.unknown, kilowatts(limit)));
  const bar = node.querySelector(".bar");
  setClass(bar, `bar ${power < 0 ? "export" : ""} ${load}`);
  bar.setAttribute("aria-label", T.feederBar(feeder.id, believed ? percent : T.unknown));
  bar.querySelector(".fill").style.width = `${believed ? percent : 0}%`;
  setText(node.querySelector(".room"), T.feederRoom(kilowatts(Math.max(0, feeder.room_import_w[TOTAL]))));
  setText(node.querySelector(".source"), source(feeder));
}

function source(feeder) {
  if (feeder.lost) return T.feederLost(feeder.meter, kilowatts(feeder.power.value), duration(feeder.power.age_ms));
  return feeder.meter === null ? T.feederEstimated : T.feederMeter(feeder.meter, duration(feeder.power.age_ms));
}
