// Small helpers: make elements, show numbers. Text always goes in as text, never as HTML.

import { T } from "./strings.js";

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
export const byId = (id) => document.getElementById(id);

// Writes only what changed, so that a screen reader and a selection stay undisturbed.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setClass(node, name) {
  if (node.className !== name) node.className = name;
}

export function kilowatts(watts) {
  if (watts === null || watts === undefined) return T.unknown;
  const text = Math.abs(watts) >= 1000 ? `${(watts / 1000).toFixed(1)} kW` : `${Math.round(watts)} W`;
  return text.replace("-", "−");
}

export function duration(ms) {
  if (ms === null || ms === undefined) return T.unknown;
  if (ms < 1000) return `${ms} ms`;
  if (ms < 120000) return `${(ms / 1000).toFixed(1)} s`;
  return ms < 7200000 ? `${Math.round(ms / 60000)} min` : `${Math.round(ms / 3600000)} h`;
}

export function number(value, digits = 0) {
  return value === null || value === undefined ? T.unknown : value.toFixed(digits);
}

const two = (value) => String(value).padStart(2, "0");

// 24 hours, as in the log of the gateway; in the time zone of whoever looks.
export function clock(ms, seconds = true) {
  const at = new Date(ms);
  return `${two(at.getHours())}:${two(at.getMinutes())}${seconds ? `:${two(at.getSeconds())}` : ""}`;
}

export function date(ms) {
  const at = new Date(ms);
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

// The day only where it isn't today.
export function time(ms) {
  return date(ms) === date(Date.now()) ? clock(ms) : `${date(ms)} ${clock(ms)}`;
}

export function micro(us) {
  if (us < 1000) return `${us < 10 && !Number.isInteger(us) ? us.toFixed(1) : Math.round(us)} µs`;
  return us < 1000000 ? `${(us / 1000).toFixed(1)} ms` : `${(us / 1000000).toFixed(1)} s`;
}

// A command's long number says nothing to a person; its beginning is enough to find it.
export function shortIds(text) {
  return text.replace(/\b([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/g, "$1…");
}

// How an EVSE is, as class and word: what a person locked is no fault; the word says why it stands still.
export function standing(evse) {
  return evse.level !== "fault" && evse.locks.length ? { level: "degraded", text: T.locked } : { level: evse.level, text: T.levels[evse.level] };
}

// The gateway writes commands and keys between backticks.
export function marked(text) {
  return text.split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));
}

// Keeps one child per item, in the order of the items: makes what is new, drops what is gone, leaves the rest in place.
export function keyed(parent, items, key, make) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, index) => {
    const name = key(item);
    const child = old.get(name) ?? make(item);
    old.delete(name);
    child.dataset.key = name;
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
  });
  for (const gone of old.values()) gone.remove();
}

export async function getJson(path, options = {}) {
  const response = await fetch(path, options);
  const document = await response.json();
  if (!response.ok) throw new Error(document.error ?? response.statusText);
  return document;
}
