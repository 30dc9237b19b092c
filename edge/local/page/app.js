// The page: watches the gateway's stream, and says loudly when nothing comes any more.

import { showCards } from "./cards.js";
import { byId, duration, el, keyed, kilowatts, marked, setClass, setText, time } from "./dom.js";
import { showFeeders } from "./feeders.js";
import { addEvent, loadEvents, showDoctor, showRt, showSessions } from "./more.js";
import { T } from "./strings.js";

const STALE_MS = 2500; // five messages missed
const RECONNECT_MS = 1000;
const SLOW_MS = 5000; // what changes slowly is asked for this often
let heard = null;

function showStatus(status) {
  const grid = status.feeders[0];
  const evses = status.evses.reduce((sum, evse) => sum + (evse.values.power?.value ?? 0), 0);
  const core = T.core(status.core.state, status.core.period_us / 1000, status.core.scheduling, status.core.guard);
  setText(byId("site"), status.site);
  setText(byId("level"), T.levels[status.level]);
  setClass(byId("level"), `pill ${status.level}`);
  setText(byId("line"), `${T.line(kilowatts(grid?.power.value), kilowatts(evses), core, duration(status.core.plan_age_ms))} · ${uplink(status.uplink)}${control(status.site_control)}`);
  setText(byId("about"), T.about(status.version, status.config_hash, time(status.ts)));
  document.title = `${status.site} ${T.levels[status.level]}`;
  showNotices(status.notices);
  showFeeders(status);
  showCards(status);
}

// What site control follows; nothing on a site without a target or a grid meter.
function control(site) {
  const parts = [];
  if (site.target_w !== null) parts.push(T.control.target(kilowatts(site.target_w), kilowatts(site.measured_w)));
  if (site.frequency_hz !== null) parts.push(`${site.frequency_hz.toFixed(3)} Hz`);
  if (site.service !== "in") parts.push(T.control.service(site.service, site.reason.code));
  if (site.waiting_evses > 0) parts.push(T.control.waiting(site.waiting_evses));
  return parts.map((part) => ` · ${part}`).join("");
}

function uplink(facts) {
  if (facts.state === "connected") return T.uplink.connected(facts.broker, facts.tls_version);
  return facts.state === "off" ? T.uplink.off : T.uplink.connecting(facts.broker);
}

function showNotices(notices) {
  keyed(byId("notices"), notices, (notice) => notice.text, (notice) =>
    el("li", { class: notice.level }, el("strong", {}, notice.code), ` ${notice.text}`, el("div", { class: "small" }, ...marked(T.remedy(notice.remedy)))));
}

function showAge() {
  const banner = byId("stale");
  const age = heard === null ? null : performance.now() - heard;
  const stale = age === null || age > STALE_MS;
  document.body.classList.toggle("stale", stale);
  banner.hidden = !stale;
  if (stale) setText(banner, age === null ? T.connecting : T.stale(Math.floor(age / 1000)));
}

function watch() {
  const stream = new EventSource("/v1/stream");
  stream.addEventListener("status", (message) => {
    if (heard === null || performance.now() - heard > STALE_MS) refresh();
    heard = performance.now();
    showStatus(JSON.parse(message.data));
    showAge();
  });
  stream.addEventListener("event", (message) => addEvent(JSON.parse(message.data)));
  stream.addEventListener("error", () => {
    stream.close();
    setTimeout(watch, RECONNECT_MS);
  });
}

// What a lost connection may have missed.
function refresh() {
  loadEvents().catch(() => {});
  showRt().catch(() => {});
}

function onOpen(id, show) {
  const details = byId(id);
  details.addEventListener("toggle", () => {
    const body = details.querySelector("div");
    if (details.open) show(body).catch((error) => setText(body, error.message));
  });
}

for (const node of document.querySelectorAll("[data-text]")) node.textContent = T[node.dataset.text];
onOpen("doctor", showDoctor);
onOpen("sessions", showSessions);
setInterval(showAge, 250);
setInterval(() => showRt().catch(() => {}), SLOW_MS);
showAge();
watch();
