// The last 15 minutes of one charge point, a sample a second: what was read, told and allowed, and why.

export const SAMPLES = 900;
export const PERIOD_MS = 1000;

const READ = { power: "power", soc: "soc", connector: "t_connector", cable: "t_cable", charger: "t_charger", cell: "t_cell_max" };

// A sample stands for its second: what came within it is known, however short its age limit is.
function known(value) {
  return value && (value.quality === "good" || (value.age_ms !== null && value.age_ms <= PERIOD_MS)) ? value.value : null;
}

export class Track {
  constructor() {
    this.samples = [];
    this.ended = 0; // Unix ms of the newest sample, by the gateway's clock
  }

  // What the gateway remembers replaces what is here: nothing is drawn twice, and no gap stays that can be filled.
  load(history) {
    const starts = [...history.reasons].reverse();
    const codeAt = (index) => starts.find(({ first }) => first <= index)?.code ?? "NONE";
    this.samples = history.power_w.map((power, index) => ({
      power, target: history.target_w[index], low: history.min_w[index], high: history.max_w[index],
      soc: history.soc_percent[index], connector: history.connector_c[index], cable: history.cable_c[index],
      charger: history.charger_c[index], cell: history.cell_max_c[index], code: codeAt(index),
    }));
    this.ended = history.ts;
  }

  // True when a second has passed and a sample was added.
  add(evse, ts) {
    if (ts - this.ended < PERIOD_MS) return false;
    const { setpoint, values } = evse;
    const sample = { target: setpoint.target_w, low: setpoint.band_min_w, high: setpoint.band_max_w, code: setpoint.reason.code };
    for (const [name, field] of Object.entries(READ)) sample[name] = known(values[field]);
    this.samples.push(sample);
    if (this.samples.length > SAMPLES) this.samples.shift();
    this.ended = Math.max(ts - (ts % PERIOD_MS), this.ended + PERIOD_MS);
    return true;
  }

  timeOf(index) {
    return this.ended - (this.samples.length - 1 - index) * PERIOD_MS;
  }

  known(name) {
    return this.samples.map((sample) => sample[name]).filter((value) => value !== null && value !== undefined);
  }
}
