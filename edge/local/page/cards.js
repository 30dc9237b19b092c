// One card per charge point: what binds, how old is what we know, what happens next.

import { byId, duration, el, getJson, keyed, kilowatts, number, setClass, setText } from "./dom.js";
import { Lock } from "./lock.js";
import { Spark } from "./spark.js";
import { T } from "./strings.js";

const SAMPLE_MS = 1000;
const EXPLAIN_MS = 2000;
const cards = new Map();
let asking = Promise.resolve(); // histories are fetched one after the other, so that a large site doesn't ask all at once

export function showCards(status) {
  const parent = byId("evses");
  keyed(parent, status.evses, (evse) => evse.id, (evse) => makeCard(evse).node);
  for (const evse of status.evses) cards.get(evse.id).update(evse);
  for (const id of cards.keys()) if (!status.evses.some((evse) => evse.id === id)) cards.delete(id);
}

function makeCard(evse) {
  const card = new Card(evse);
  cards.set(evse.id, card);
  asking = asking.then(() => card.loadHistory()).catch(() => {});
  return card;
}

class Card {
  constructor(evse) {
    this.id = evse.id;
    this.spark = new Spark(T.spark(15));
    this.lock = new Lock(evse.id);
    this.sampled = 0;
    const parts = (this.parts = {});
    const part = (name, tag, attributes = {}, ...children) => (parts[name] = el(tag, attributes, ...children));
    const fact = (name, title) => [el("dt", {}, title), part(name, "dd")];
    const chain = el("details", {}, el("summary", {}, T.why), part("chain", "div"));
    chain.addEventListener("toggle", () => this.explain(chain));
    this.node = el(
      "article", { "aria-label": evse.id },
      el("header", {}, el("h3", {}, evse.id), part("level", "span", { class: "pill" })),
      part("state", "p", { class: "state" }),
      el("p", { class: "power" }, part("power", "strong"), " ", part("verb", "span")),
      part("told", "p", { class: "told" }),
      part("soc", "div", { class: "soc", role: "img" }, part("fill", "span", { class: "fill" }), part("floor", "span", { class: "floor" })),
      part("values", "p", { class: "small" }),
      this.spark.node,
      el("dl", {}, ...fact("binds", T.binds), ...fact("age", T.age), ...fact("next", T.next)),
      chain,
      this.lock.node,
    );
  }

  update(evse) {
    const { parts } = this;
    const { power, soc } = evse.values;
    const known = power && power.value !== null && power.quality === "good";
    setClass(this.node, `card ${evse.level}`);
    setText(parts.state, evse.state === null ? T.unknown : `${evse.state} · ${evse.state_text}`);
    setText(parts.level, T.levels[evse.level]);
    setClass(parts.level, `pill ${evse.level}`);
    setText(parts.power, known ? kilowatts(Math.abs(power.value)) : T.unknown);
    setText(parts.verb, known ? (power.value > 0 ? T.charging : power.value < 0 ? T.discharging : T.idle) : "");
    const asked = evse.wish_w === null ? "" : ` · ${T.asked} ${kilowatts(evse.wish_w)}${evse.wish_by ? ` (${evse.wish_by})` : ""}`;
    setText(parts.told, `${T.told} ${kilowatts(evse.setpoint.target_w)}${asked}`);
    this.updateSoc(evse, soc);
    this.lock.update(evse);
    setText(parts.values, values(evse));
    setText(parts.binds, evse.answer.binds);
    setText(parts.age, evse.answer.age);
    setText(parts.next, evse.answer.next);
    const now = Date.now();
    if (now - this.sampled >= SAMPLE_MS) {
      this.sampled = now;
      this.spark.add(known ? power.value : null, evse.setpoint.target_w);
    }
  }

  updateSoc(evse, soc) {
    const { parts } = this;
    const shown = soc && soc.value !== null;
    parts.soc.hidden = !shown;
    if (!shown) return;
    parts.fill.style.width = `${soc.value}%`;
    parts.floor.style.left = `${evse.soc_floor_percent}%`;
    parts.soc.setAttribute("aria-label", T.socBar(number(soc.value, 1), number(evse.soc_floor_percent)));
    setClass(parts.soc, soc.quality === "good" ? "soc" : "soc old");
  }

  async loadHistory() {
    const history = await getJson(`/v1/evses/${encodeURIComponent(this.id)}/history`);
    this.spark.remember(history.power_w, history.target_w);
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
      await new Promise((done) => setTimeout(done, EXPLAIN_MS));
    }
  }
}

function values(evse) {
  const { soc } = evse.values;
  const shown = soc && soc.value !== null ? [`${T.soc} ${number(soc.value, 1)} % (${T.floor(number(evse.soc_floor_percent))})`] : [];
  for (const [name, title] of Object.entries(T.temperatures)) {
    const value = evse.values[name];
    if (value) shown.push(`${title} ${number(value.value)} °C${value.quality === "good" ? "" : ` (${value.quality}, ${duration(value.age_ms)})`}`);
  }
  return shown.join(" · ");
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
