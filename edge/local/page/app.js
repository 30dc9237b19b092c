// The page: watches the gateway's stream, and says loudly when nothing comes any more.

import { reloadCurves, showCards } from "./cards.js";
import { byId, duration, el, keyed, marked, setClass, setText, time } from "./dom.js";
import { showFeeders } from "./feeders.js";
import { addEvent, loadEvents, showDoctor, showEvents, showRt, showSessions } from "./more.js";
import { T } from "./strings.js";
import { showTiles } from "./tiles.js";

const STALE_MS = 2000; // four messages missed
const RECONNECT_MS = 1000;
const SLOW_MS = 5000; // what changes slowly is asked for this often
const SLOWER_MS = 20000;
let heard = null;

function showStatus(status) {
  setText(byId("site"), status.site);
  showLevel(status.level, T.siteLevels[status.level]);
  setText(byId("about"), T.about(status.version, status.config_hash, duration(status.uptime_ms), time(status.ts)));
  showNotices(status.notices);
  showTiles(status);
  showFeeders(status);
  showCards(status);
}

function showLevel(level, text) {
  setText(byId("level"), text);
  setClass(byId("level"), `pill ${level}`);
  document.title = `${byId("site").textContent} ${text}`;
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
  if (stale && age !== null) showLevel("fault", T.staleLevel); // no green OK beside data that are old
}

function watch() {
  const stream = new EventSource("/v1/stream");
  stream.addEventListener("status", (message) => {
    const gap = heard === null || performance.now() - heard > STALE_MS;
    heard = performance.now();
    showStatus(JSON.parse(message.data));
    showAge();
    if (gap) refresh();
  });
  stream.addEventListener("event", (message) => addEvent(JSON.parse(message.data)));
  stream.addEventListener("error", () => {
    stream.close();
    setTimeout(watch, RECONNECT_MS);
  });
}

// What a lost connection may have missed. While nothing comes, nothing is asked: the banner says so.
function refresh() {
  reloadCurves();
  loadEvents().catch(() => {});
  slow();
  slower();
}

const live = () => heard !== null && performance.now() - heard <= STALE_MS && !document.hidden;
const slow = () => live() && showRt().catch(() => {});

function slower() {
  if (!live()) return;
  showDoctor().catch(() => {});
  showSessions().catch(() => {});
}

for (const node of document.querySelectorAll("[data-text]")) node.textContent = T[node.dataset.text];
byId("nav").setAttribute("aria-label", T.sections);
byId("faults-only").addEventListener("change", showEvents);
document.addEventListener("visibilitychange", () => !document.hidden && (slow(), slower()));
setInterval(showAge, 250);
setInterval(slow, SLOW_MS);
setInterval(slower, SLOWER_MS);
showAge();
watch();
