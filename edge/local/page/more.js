// Events, real-time histogram, doctor and sessions.

import { byId, el, getJson, keyed, marked, number, svg, time } from "./dom.js";
import { T } from "./strings.js";

const EVENTS = 50;
let events = [];

export async function loadEvents() {
  const document = await getJson("/v1/events?since=0");
  events = document.events;
  showEvents();
}

export function addEvent(event) {
  if (!events.some((known) => known.seq === event.seq)) events.push(event);
  showEvents();
}

function showEvents() {
  events = events.slice(-EVENTS);
  const newest = [...events].reverse();
  keyed(byId("events"), newest, (event) => String(event.seq), (event) =>
    el("li", { class: event.level }, el("time", {}, time(event.ts)), " ", el("strong", {}, event.subject), ` ${event.text} `, el("code", {}, event.code)));
}

export async function showRt() {
  const rt = await getJson("/v1/rt");
  byId("rt").replaceChildren(
    el("p", { class: "small" }, T.cycles(rt.cycles, rt.missed)),
    el("div", { class: "pair" }, histogram(T.lateness, rt.lateness_us), histogram(T.compute, rt.compute_us)),
  );
}

// Bars are logarithmic, so that a single late cycle is seen beside a million punctual ones.
function histogram(title, facts) {
  const used = facts.counts.map((count, index) => (count ? index : -1)).filter((index) => index >= 0);
  const first = Math.max(0, (used[0] ?? 0) - 1);
  const shown = facts.counts.slice(first, (used.at(-1) ?? 0) + 2);
  const top = Math.log10(Math.max(10, ...shown) * 2);
  const width = 300 / Math.max(1, shown.length);
  const bars = shown.map((count, index) => {
    const height = count ? Math.max(2, (Math.log10(count * 2) / top) * 80) : 0;
    const bound = facts.bounds[first + index] ?? T.above;
    const bar = svg("rect", { x: index * width + 1, y: 84 - height, width: width - 2, height });
    bar.append(svg("title", {}, T.bar(bound, count)));
    return bar;
  });
  const label = (index, anchor) =>
    svg("text", { x: anchor === "end" ? 300 : 0, y: 97, "text-anchor": anchor }, `≤ ${facts.bounds[first + index] ?? T.above} µs`);
  return el(
    "figure", {},
    el("figcaption", {}, el("strong", {}, title), el("br"), T.percentiles(facts)),
    svg("svg", { viewBox: "0 0 300 100", class: "histogram", role: "img", "aria-label": `${title}: ${T.percentiles(facts)}` }, ...bars, label(0, "start"), label(shown.length - 1, "end")),
  );
}

export async function showDoctor(node) {
  const doctor = await getJson("/v1/doctor");
  const lines = doctor.checks.map((check) =>
    el("li", {}, el("span", { class: `pill ${check.level}` }, T.checks[check.level]), ` ${check.name}: ${check.text}`,
      ...(check.remedy ? [el("div", { class: "small" }, ...marked(T.remedy(check.remedy)))] : [])));
  node.replaceChildren(el("ul", { class: "plain" }, ...lines));
}

export async function showSessions(node) {
  const document = await getJson("/v1/sessions");
  const soc = (session) => `${number(session.soc_start_percent)} → ${number(session.soc_last_percent)} %`;
  const rows = document.sessions.map((session) => [
    session.evse, time(session.started), session.ended === null ? T.running : time(session.ended),
    `${(session.charged_wh / 1000).toFixed(1)} kWh`, `${(session.discharged_wh / 1000).toFixed(1)} kWh`, soc(session),
  ]);
  const table = el("table", {},
    el("thead", {}, el("tr", {}, ...T.sessionHead.map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((text) => el("td", {}, text))))));
  node.replaceChildren(el("div", { class: "scroll", tabindex: "0" }, table));
}
