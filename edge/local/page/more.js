// Events, real-time histograms, doctor and sessions.

import { byId, date, el, getJson, keyed, marked, number, setClass, setText, svg, time } from "./dom.js";
import { T } from "./strings.js";

const EVENTS = 200;
let events = [];

export async function loadEvents() {
  events = (await getJson("/v1/events?since=0")).events;
  showEvents();
}

export function addEvent(event) {
  if (!events.some((known) => known.seq === event.seq)) events.push(event);
  showEvents();
}

export function showEvents() {
  const faults = byId("faults-only").checked;
  const newest = events.filter((event) => !faults || event.level !== "ok").slice(-EVENTS).reverse();
  events = events.slice(-5 * EVENTS);
  setText(byId("no-events"), newest.length ? "" : faults ? T.noFaults : T.noEvents);
  keyed(byId("events"), newest, (event) => String(event.seq), eventLine);
}

function eventLine(event) {
  const mark = event.level === "ok" ? [] : [el("span", { class: `pill ${event.level}` }, T.levels[event.level]), " "];
  const code = event.code === "NONE" ? [] : [" ", el("code", {}, event.code)];
  return el("li", {}, el("time", { title: `${date(event.ts)} #${event.seq}` }, time(event.ts)), " ", ...mark, el("strong", {}, event.subject), ` ${event.text}`, ...code);
}

export async function showRt() {
  const rt = await getJson("/v1/rt");
  byId("rt").replaceChildren(
    el("p", { class: "small" }, `${T.cycles(rt)} · ${T.logarithmic}`),
    el("div", { class: "pair" }, histogram(T.lateness, rt.lateness_us), histogram(T.compute, rt.compute_us)),
  );
}

// Bars are logarithmic, so that a single late cycle is seen beside a million punctual ones.
function histogram(title, facts) {
  const { bounds, counts } = facts;
  const used = counts.map((count, index) => (count ? index : -1)).filter((index) => index >= 0);
  const first = Math.max(0, (used[0] ?? 0) - 1);
  const shown = counts.slice(first, (used.at(-1) ?? 0) + 1);
  const top = Math.log10(Math.max(10, ...shown) * 2);
  const width = 300 / Math.max(1, shown.length);
  const name = (index) => (index < bounds.length ? T.upTo(bounds[index]) : T.above(bounds.at(-1)));
  const bars = shown.map((count, index) => {
    const height = count ? Math.max(2, (Math.log10(count * 2) / top) * 80) : 0;
    const bar = svg("rect", { x: index * width + 1, y: 84 - height, width: width - 2, height });
    bar.append(svg("title", {}, T.bar(name(first + index), count)));
    return bar;
  });
  const every = Math.ceil(shown.length / 5);
  const labels = shown.map((_, index) => index).filter((index) => index % every === 0 || index === shown.length - 1);
  const anchor = (index) => (index === 0 ? "start" : index === shown.length - 1 ? "end" : "middle");
  const place = (index) => (index === 0 ? 0 : index === shown.length - 1 ? 300 : (index + 0.5) * width);
  const texts = labels
    .filter((index) => index === shown.length - 1 || shown.length - 1 - index >= every)
    .map((index) => svg("text", { x: place(index), y: 96, "text-anchor": anchor(index) }, name(first + index)));
  return el(
    "figure", {},
    el("figcaption", {}, el("strong", {}, title), el("br"), T.percentiles(facts)),
    svg("svg", { viewBox: "0 0 300 100", class: "histogram", role: "img", "aria-label": `${title}: ${T.percentiles(facts)}` }, ...bars, ...texts),
  );
}

// What wants a look stands open; the rest is one click away.
export async function showDoctor() {
  const { checks, level } = await getJson("/v1/doctor");
  const bad = checks.filter((check) => check.level !== "ok");
  setText(byId("doctor-level"), T.doctorSummary(bad.length));
  setClass(byId("doctor-level"), `pill ${level}`);
  byId("doctor-bad").replaceChildren(...bad.map(checkLine));
  byId("doctor").querySelector("ul").replaceChildren(...checks.map(checkLine));
}

function checkLine(check) {
  const remedy = check.remedy ? [el("div", { class: "small" }, ...marked(T.remedy(check.remedy)))] : [];
  return el("li", {}, el("span", { class: `pill ${check.level}` }, T.checks[check.level]), ` ${check.name}: ${check.text}`, ...remedy);
}

export async function showSessions() {
  const { sessions } = await getJson("/v1/sessions");
  if (!sessions.length) return byId("sessions").replaceChildren(el("p", { class: "small" }, T.noSessions));
  const soc = (session) => `${number(session.soc_start_percent)} → ${number(session.soc_last_percent)}`;
  const rows = sessions.map((session) => [
    session.evse, time(session.started), session.ended === null ? T.running : time(session.ended),
    (session.charged_wh / 1000).toFixed(1), (session.discharged_wh / 1000).toFixed(1), soc(session),
  ]);
  const table = el("table", {},
    el("thead", {}, el("tr", {}, ...T.sessionHead.map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((text) => el("td", {}, text))))));
  return byId("sessions").replaceChildren(el("div", { class: "scroll", tabindex: "0" }, table));
}
