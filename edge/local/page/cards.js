// One card per charge point: what binds, how old is what we know, what happens next, and the last 15 minutes.

import { Chart } from "./chart.js";
import { byId, duration, el, getJson, keyed, kilowatts, number, setClass, setText, shortIds, standing } from "./dom.js";
import { Lock } from "./lock.js";
import { T } from "./strings.js";
import { Track } from "./track.js";

const EXPLAIN_MS = 2000;
const ASK_EVERY_MS = 50; // well below what the gateway answers one address
const cards = new Map();
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
let asking = Promise.resolve(); // histories are fetched one after the other, so that a large site doesn't ask all at once

export function showCards(status) {
  const parent = byId("evses");
  keyed(parent, status.evses, (evse) => evse.id, (evse) => makeCard(evse).node);
  for (const evse of status.evses) cards.get(evse.id).update(evse, status.ts);
  for (const id of cards.keys()) if (!status.evses.some((evse) => evse.id === id)) cards.delete(id);
}

// After a lost connection: what the gateway remembers of the time in between.
export function reloadCurves() {
  for (const card of cards.values()) card.loadCurves();
}

// Its part of the site's target, and what is left to it of what all have in common; empty without either.
function share(of) {
  const texts = [];
  if (of.target_w !== null) texts.push(T.share.part(kilowatts(of.target_w)));
  if (of.charge_w !== null) texts.push(T.share.charge(kilowatts(of.charge_w), of.reason.code, number(of.weight, 2)));
  if (of.discharge_w !== null) texts.push(T.share.discharge(kilowatts(of.discharge_w), of.reason.code, number(of.discharge_weight, 2)));
  return texts.join(" · ");
}

function makeCard(evse) {
  const card = new Card(evse);
  cards.set(evse.id, card);
  card.loadCurves();
  return card;
}

class Card {
  constructor(evse) {
    this.id = evse.id;
    this.evse = evse;
    this.track = new Track();
    this.charts = [new Chart(this.track, T.curves(evse.id), [powerPanel()])];
    this.lock = new Lock(evse.id);
    const parts = (this.parts = {});
    const part = (name, tag, attributes = {}, ...children) => (parts[name] = el(tag, attributes, ...children));
    const fact = (name, title) => [el("dt", {}, title), part(name, "dd")];
    const chain = el("details", {}, el("summary", {}, T.why), part("chain", "div"));
    chain.addEventListener("toggle", () => this.explain(chain));
    this.node = el(
      "article", { "aria-label": evse.id, id: `card-${evse.id}` },
      el("header", {}, el("h3", {}, evse.id), part("level", "span", { class: "pill" })),
      part("state", "p", { class: "state" }),
      el("p", { class: "power" }, part("power", "strong"), " ", part("verb", "span")),
      part("told", "p", { class: "told" }),
      part("share", "p", { class: "small" }),
      el("dl", {}, ...fact("binds", T.binds), ...fact("may", T.may), ...fact("age", T.age), ...fact("next", T.next)),
      part("socText", "p", { class: "small" }),
      part("soc", "div", { class: "soc", role: "img" }, part("fill", "span", { class: "fill" }), part("floor", "span", { class: "floor" })),
      part("temperatures", "ul", { class: "temperatures small" }),
      this.charts[0].node,
      this.moreCurves(),
      chain,
      this.lock.node,
    );
  }

  moreCurves() {
    const details = el("details", {}, el("summary", {}, T.moreCurves));
    details.addEventListener("toggle", () => {
      if (this.charts.length > 1) return;
      this.charts.push(new Chart(this.track, T.moreCurvesOf(this.id), [socPanel(this), temperaturePanel(this)]));
      details.append(this.charts[1].node);
    });
    return details;
  }

  update(evse, ts) {
    const { parts } = this;
    const { power, soc, cp_duty: duty } = evse.values;
    this.evse = evse;
    const known = power && power.value !== null && power.quality === "good";
    const { level, text } = standing(evse);
    setClass(this.node, `card ${level}`);
    setText(parts.state, evse.state === null ? T.unknown : T.pilot(evse.state, evse.state_text, duty?.quality === "good" ? duty.value : null));
    setText(parts.level, text);
    setClass(parts.level, `pill ${level}`);
    setText(parts.power, known ? kilowatts(Math.abs(power.value)) : T.unknown);
    setText(parts.verb, known ? (power.value > 0 ? T.charging : power.value < 0 ? T.discharging : T.idle) : "");
    setText(parts.told, told(evse));
    parts.told.title = evse.wish_by;
    setText(parts.share, share(evse.share));
    this.updateSoc(evse, soc);
    this.lock.update(evse);
    showTemperatures(parts.temperatures, evse);
    setText(parts.binds, shortIds(evse.answer.binds));
    setText(parts.may, may(evse.setpoint));
    setText(parts.age, evse.answer.age);
    setText(parts.next, shortIds(evse.answer.next));
    if (this.track.add(evse, ts)) for (const chart of this.charts) chart.slide();
  }

  updateSoc(evse, soc) {
    const { parts } = this;
    const shown = soc && soc.value !== null;
    parts.soc.hidden = parts.socText.hidden = !shown;
    if (!shown) return;
    const texts = [number(soc.value, 1), number(evse.soc_floor_percent)];
    parts.fill.style.width = `${soc.value}%`;
    parts.floor.style.left = `${evse.soc_floor_percent}%`;
    parts.soc.setAttribute("aria-label", T.socBar(...texts));
    setText(parts.socText, `${T.soc(...texts)}${soc.quality === "good" ? "" : ` (${soc.quality}, ${T.ago(duration(soc.age_ms))})`}`);
    setClass(parts.soc, soc.quality === "good" ? "soc" : "soc old");
  }

  loadCurves() {
    asking = asking
      .then(async () => {
        this.track.load(await getJson(`/v1/evses/${encodeURIComponent(this.id)}/history`));
        for (const chart of this.charts) chart.draw(true);
        await pause(ASK_EVERY_MS);
      })
      .catch(() => {});
  }

  // The chain is fetched while it is open, and only then.
  async explain(details) {
    while (details.open && this.node.isConnected) {
      try {
        const document = await getJson(`/v1/evses/${encodeURIComponent(this.id)}/explain`);
        this.parts.chain.replaceChildren(chainTable(document), ...chainFacts(document));
      } catch (error) {
        this.parts.chain.replaceChildren(el("p", {}, String(error.message)));
      }
      await pause(EXPLAIN_MS);
    }
  }
}

function powerPanel() {
  const lines = [{ name: "target", text: T.lines.target, step: true }, { name: "power", text: T.lines.power }];
  return { title: T.panels.power, height: 84, scale: 1000, span: 1000, always: [0], band: ["low", "high"], lines, strip: true, read: T.read.power };
}

function socPanel(card) {
  const floor = card.evse.soc_floor_percent;
  const levels = () => [{ value: card.evse.soc_floor_percent, text: T.floorLevel(number(card.evse.soc_floor_percent)) }];
  const lines = [{ name: "soc", text: T.lines.soc }];
  return { title: T.panels.soc, height: 72, scale: 1, span: 10, least: 0, always: [floor - 1], lines, levels, read: T.read.soc };
}

function temperaturePanel(card) {
  const names = ["connector", "cable", "charger", "cell"].filter((name) => card.track.known(name).length);
  const derate = () => card.evse.thermal.t_connector?.derate_c;
  const levels = () => (derate() === undefined ? [] : [{ value: derate(), text: T.derateLevel(number(derate())) }]);
  const lines = names.map((name) => ({ name, text: T.lines[name] }));
  return { title: T.panels.temperature, height: 84, scale: 1, span: 20, lines, levels, read: T.read.temperature };
}

function told(evse) {
  const asked = evse.wish_w === null ? "" : ` · ${T.asked} ${kilowatts(evse.wish_w)}${evse.wish_by ? ` (${shortIds(evse.wish_by)})` : ""}`;
  return `${T.told} ${kilowatts(evse.setpoint.target_w)}${asked}`;
}

function may(setpoint) {
  const { band_min_w: low, band_max_w: high } = setpoint;
  return T.mayText(kilowatts(Math.max(0, -low)), setpoint.reason_min.title, kilowatts(Math.max(0, high)), setpoint.reason_max.title);
}

// A temperature above its derate limit says so in words.
function showTemperatures(list, evse) {
  const shown = Object.entries(T.temperatures).filter(([name]) => evse.values[name]);
  keyed(list, shown, ([name]) => name, () => el("li"));
  shown.forEach(([name, title], index) => {
    const value = evse.values[name];
    const limit = evse.thermal[name]?.derate_c;
    const hot = value.value !== null && limit !== undefined && value.value >= limit;
    const doubt = value.quality === "good" ? "" : ` (${value.quality}, ${T.ago(duration(value.age_ms))})`;
    setText(list.children[index], `${title} ${number(value.value)} °C${hot ? ` – ${T.derates(`${number(limit)} °C`)}` : ""}${doubt}`);
    setClass(list.children[index], hot || doubt ? "hot" : "");
  });
}

function chainTable(document) {
  const head = el("tr", {}, ...[T.row, T.chargeLimit, T.dischargeLimit, T.reason].map((text) => el("th", { scope: "col" }, text)));
  const side = (limit) => el("td", limit.binds ? { class: "binds", title: T.bindsHere } : {}, (limit.binds ? "▸ " : "") + kilowatts(limit.limit_w));
  const rows = document.rows.map((row) => {
    const titles = new Set([row.charge, row.discharge].filter((limit) => limit.tightens).map((limit) => limit.reason.title));
    return el("tr", {}, el("th", { scope: "row" }, `${row.row} ${row.title}`), side(row.charge), side(row.discharge), el("td", {}, [...titles].join(", ")));
  });
  return el("div", { class: "scroll", tabindex: "0" }, el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)));
}

function chainFacts(document) {
  return document.rows
    .filter((row) => row.charge.binds || row.discharge.binds)
    .map((row) => el("ul", { class: "small" }, ...row.facts.map((fact) => el("li", {}, fact))));
}
