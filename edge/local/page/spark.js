// The last 15 minutes of one charge point as two lines: its power, and what it was told.

import { svg } from "./dom.js";

const SAMPLES = 900;
const SHORTEST = 120; // a young line is not squeezed into a corner
const WIDTH = 300;
const HEIGHT = 56;

export class Spark {
  constructor(title) {
    this.power = [];
    this.target = [];
    this.lines = { target: svg("path", { class: "target" }), power: svg("path", { class: "power" }) };
    this.zero = svg("line", { class: "zero", x1: 0, x2: WIDTH });
    this.node = svg(
      "svg",
      { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": title },
      this.zero, this.lines.target, this.lines.power,
    );
  }

  // What the gateway remembers goes before what came since the page was opened.
  remember(power, target) {
    this.power = [...power, ...this.power].slice(-SAMPLES);
    this.target = [...target, ...this.target].slice(-SAMPLES);
    this.draw();
  }

  add(power, target) {
    this.power = [...this.power, power].slice(-SAMPLES);
    this.target = [...this.target, target].slice(-SAMPLES);
    this.draw();
  }

  draw() {
    const known = [...this.power, ...this.target].filter((value) => value !== null);
    const high = Math.max(1000, ...known);
    const low = Math.min(0, ...known);
    const y = (value) => (3 + ((high - value) / (high - low)) * (HEIGHT - 6)).toFixed(1);
    this.zero.setAttribute("y1", y(0));
    this.zero.setAttribute("y2", y(0));
    this.lines.power.setAttribute("d", path(this.power, y));
    this.lines.target.setAttribute("d", path(this.target, y));
  }
}

// A gap stays a gap: a missing value ends the line, it is never drawn as 0.
function path(values, y) {
  const span = Math.max(SHORTEST, values.length);
  const step = WIDTH / (span - 1);
  const first = span - values.length;
  let pen = "M";
  const parts = [];
  values.forEach((value, index) => {
    if (value === null) {
      pen = "M";
      return;
    }
    parts.push(`${pen}${((first + index) * step).toFixed(1)} ${y(value)}`);
    pen = "L";
  });
  return parts.join("");
}
