// Curves over time with axes, and a cursor for mouse, finger and keyboard that reads out what stood at that moment.

import { clock, el, setText, svg } from "./dom.js";
import { T } from "./strings.js";
import { PERIOD_MS, SAMPLES } from "./track.js";

const LEFT = 40; // for the numbers of the axis
const RIGHT = 6;
const TITLE = 16;
const FOOT = 18;
const STRIP = 5;
const SHORTEST = 120; // a young curve is not squeezed into a corner
const TIME_STEPS_S = [15, 30, 60, 120, 300];
const QUIET = new Set(["NONE", "RATING", "PLAN_LIMIT", "RAMP", "DEVICE_MINIMUM", "INIT"]);
const STEPS = { ArrowLeft: -1, ArrowRight: 1, PageUp: -60, PageDown: 60 };

// Each panel: title, height, lines [{name, text}], `band` [low, high], `always` values inside its range, `levels` [{value, text}],
// `scale` of its axis, the least `span` it shows, `strip`: marks where something bound; `read` says a sample in words.
export class Chart {
  constructor(track, name, panels) {
    this.track = track;
    this.panels = panels;
    this.cursor = null;
    this.width = 0;
    this.seen = false;
    this.svg = svg("svg", { class: "chart", "aria-hidden": "true" });
    this.plot = el("div", { class: "plot", tabindex: "0", role: "slider", "aria-label": name, "aria-valuemin": "0" }, this.svg);
    this.readout = el("p", { class: "readout" });
    this.node = el("div", { class: "curves" }, legend(panels), this.plot, this.readout);
    this.listen();
  }

  listen() {
    const { plot } = this;
    const point = (event) => this.moveTo(this.indexAt(event.clientX - this.svg.getBoundingClientRect().left));
    plot.addEventListener("pointermove", point);
    plot.addEventListener("pointerdown", point);
    plot.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.moveTo(null));
    plot.addEventListener("blur", () => this.moveTo(null));
    plot.addEventListener("keydown", (event) => {
      const last = this.track.samples.length - 1;
      const steps = STEPS[event.key];
      const places = { Home: 0, End: last, Escape: null };
      if (steps === undefined && !(event.key in places)) return;
      event.preventDefault();
      this.moveTo(steps === undefined ? places[event.key] : (this.cursor ?? last) + steps);
    });
    new ResizeObserver(() => this.draw(true)).observe(plot);
    new IntersectionObserver((entries) => {
      this.seen = entries.at(-1).isIntersecting;
      this.draw();
    }).observe(plot);
  }

  get span() {
    return Math.min(SAMPLES, Math.max(SHORTEST, this.track.samples.length));
  }

  x(index) {
    const place = this.span - this.track.samples.length + index;
    return LEFT + (place / (this.span - 1)) * (this.width - LEFT - RIGHT);
  }

  indexAt(x) {
    const place = ((x - LEFT) / (this.width - LEFT - RIGHT)) * (this.span - 1);
    return Math.round(place) - this.span + this.track.samples.length;
  }

  moveTo(index) {
    const last = this.track.samples.length - 1;
    this.cursor = index === null || last < 0 ? null : Math.min(last, Math.max(0, index));
    this.draw();
  }

  // A new sample pushed the oldest one out: the cursor stays at its moment.
  slide() {
    if (this.cursor !== null && this.track.samples.length === SAMPLES) this.cursor = Math.max(0, this.cursor - 1);
    this.draw();
  }

  // What nobody sees is drawn when there is something altogether new, not with every second.
  draw(anew = false) {
    if ((!this.seen && !anew) || this.plot.clientWidth === 0) return;
    this.width = this.plot.clientWidth;
    let top = 0;
    const parts = [];
    for (const panel of this.panels) {
      parts.push(...this.panelParts(panel, top + TITLE));
      top += TITLE + panel.height;
    }
    parts.push(...this.timeAxis(top));
    if (this.cursor !== null) parts.push(line("cursor", this.x(this.cursor), TITLE / 2, this.x(this.cursor), top));
    this.svg.setAttribute("width", this.width);
    this.svg.setAttribute("height", top + FOOT);
    this.svg.replaceChildren(...parts);
    this.tell();
  }

  panelParts(panel, top) {
    const { samples } = this.track;
    const range = rangeOf(panel, this.track);
    const y = (value) => top + ((range.high - value) / (range.high - range.low)) * panel.height;
    const parts = [svg("text", { class: "title", x: LEFT, y: top - 4 }, panel.title)];
    if (panel.band) parts.push(svg("path", { class: "band", d: this.bandPath(panel.band, y, range) }));
    for (const value of range.ticks) {
      parts.push(line(value === 0 ? "zero" : "grid", LEFT, y(value), this.width - RIGHT, y(value)));
      parts.push(svg("text", { x: LEFT - 5, y: y(value) + 3.5, "text-anchor": "end" }, axisNumber(value / panel.scale, range.step / panel.scale)));
    }
    for (const level of panel.levels?.() ?? []) {
      if (level.value <= range.low || level.value >= range.high) continue;
      parts.push(line("level", LEFT, y(level.value), this.width - RIGHT, y(level.value)));
      parts.push(svg("text", { class: "level", x: this.width - RIGHT - 2, y: y(level.value) - 3, "text-anchor": "end" }, level.text));
    }
    for (const { name, step } of panel.lines) parts.push(svg("path", { class: `line ${name}`, d: this.linePath(name, y, step) }));
    if (panel.strip) parts.push(...this.stretches(samples, top + panel.height - STRIP));
    if (this.cursor !== null) {
      for (const { name } of panel.lines) {
        const value = samples[this.cursor][name];
        if (known(value)) parts.push(svg("circle", { class: `dot ${name}`, cx: this.x(this.cursor), cy: y(value), r: 3 }));
      }
    }
    return parts;
  }

  // A gap stays a gap: a missing value ends the line, it is never drawn as 0.
  linePath(name, y, step) {
    let path = "";
    let before = null;
    this.track.samples.forEach((sample, index) => {
      const value = sample[name];
      if (known(value)) {
        const at = `${this.x(index).toFixed(1)} ${y(value).toFixed(1)}`;
        path += before === null ? `M${at}` : step && value !== before ? `H${this.x(index).toFixed(1)}L${at}` : `L${at}`;
      }
      before = known(value) ? value : null;
    });
    return path;
  }

  bandPath([low, high], y, range) {
    const inside = (value) => y(Math.min(range.high, Math.max(range.low, value))).toFixed(1);
    const pieces = [];
    let piece = [];
    this.track.samples.forEach((sample, index) => {
      if (known(sample[low]) && known(sample[high])) piece.push([this.x(index).toFixed(1), inside(sample[high]), inside(sample[low])]);
      else if (piece.length) pieces.push(piece), (piece = []);
    });
    if (piece.length) pieces.push(piece);
    return pieces.map((each) => `M${each.map(([x, up]) => `${x} ${up}`).join("L")}L${each.reverse().map(([x, , down]) => `${x} ${down}`).join("L")}Z`).join("");
  }

  // Where something other than a healthy day's limit bound.
  stretches(samples, top) {
    const found = [];
    samples.forEach(({ code }, index) => {
      if (QUIET.has(code)) return;
      const last = found.at(-1);
      if (last && last.end === index) last.end = index + 1;
      else found.push({ start: index, end: index + 1 });
    });
    return found.map(({ start, end }) => svg("rect", { class: "bound", x: this.x(start), y: top, height: STRIP, width: Math.max(2, this.x(end) - this.x(start)) }));
  }

  timeAxis(top) {
    const seconds = (this.span * PERIOD_MS) / 1000;
    const room = Math.max(2, Math.floor((this.width - LEFT) / 70));
    const step_ms = 1000 * (TIME_STEPS_S.find((step_s) => seconds / step_s <= room) ?? 300);
    const parts = [];
    const end = this.track.ended;
    for (let at = end - (end % step_ms); at > end - seconds * 1000; at -= step_ms) {
      const x = this.x(this.track.samples.length - 1 - (end - at) / PERIOD_MS);
      if (x < LEFT) break;
      parts.push(line("tick", x, top, x, top + 4));
      if (x > LEFT + 14 && x < this.width - 16) parts.push(svg("text", { x, y: top + 14, "text-anchor": "middle" }, clock(at, step_ms < 60000)));
    }
    return parts;
  }

  tell() {
    const { samples } = this.track;
    const index = this.cursor ?? samples.length - 1;
    if (index < 0) return setText(this.readout, T.noSample);
    const text = `${this.cursor === null ? T.now : clock(this.track.timeOf(index), true)}: ${this.panels.flatMap((panel) => panel.read(samples[index])).join(" · ")}`;
    setText(this.readout, text);
    this.plot.setAttribute("aria-valuemax", samples.length - 1);
    this.plot.setAttribute("aria-valuenow", index);
    this.plot.setAttribute("aria-valuetext", text);
    return undefined;
  }
}

const known = (value) => value !== null && value !== undefined;
const line = (name, x1, y1, x2, y2) => svg("line", { class: name, x1, y1, x2, y2 });

// All that is drawn with a little air, and round numbers inside it.
function rangeOf(panel, track) {
  const values = [...(panel.always ?? []), ...panel.lines.flatMap(({ name }) => track.known(name)), ...(panel.band ?? []).flatMap((name) => track.known(name))];
  let low = values.reduce((least, value) => Math.min(least, value), Infinity);
  let high = values.reduce((most, value) => Math.max(most, value), -Infinity);
  if (low > high) [low, high] = [0, panel.span];
  if (high - low < panel.span) [low, high] = [low - (panel.span - high + low) / 2, high + (panel.span - high + low) / 2];
  const step = niceStep((high - low) / 4);
  const edge = (high - low) * 0.06;
  [low, high] = [Math.max(panel.least ?? -Infinity, low - edge), high + edge];
  const first = Math.ceil(low / step);
  const ticks = Array.from({ length: Math.floor(high / step) - first + 1 }, (_, index) => (first + index) * step);
  return { low, high, step, ticks };
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
}

function axisNumber(value, step) {
  return value.toFixed(step < 1 ? 1 : 0).replace("-", "−").replace(/^−(0(\.0)?)$/, "$1");
}

function legend(panels) {
  const sample = (name) => svg("svg", { class: "sample", width: 22, height: 8, "aria-hidden": "true" }, svg("path", { class: `line ${name}`, d: "M0 4H22" }));
  const shade = () => svg("svg", { class: "sample", width: 22, height: 8, "aria-hidden": "true" }, svg("rect", { class: "band", width: 22, height: 8 }));
  const mark = () => svg("svg", { class: "sample", width: 22, height: 8, "aria-hidden": "true" }, svg("rect", { class: "bound", y: 2, width: 22, height: STRIP }));
  const items = panels.flatMap((panel) => [
    ...panel.lines.map(({ name, text }) => el("li", {}, sample(name), ` ${text}`)),
    ...(panel.band ? [el("li", {}, shade(), ` ${T.allowed}`)] : []),
    ...(panel.strip ? [el("li", {}, mark(), ` ${T.bound}`)] : []),
  ]);
  return el("ul", { class: "legend" }, ...items);
}
