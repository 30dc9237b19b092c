// Lock an EVSE from the page: only with the token that the gateway tells somebody who is logged in there.

import { el, getJson, marked, setText } from "./dom.js";
import { T } from "./strings.js";

const REMEMBERED = "page-token"; // for as long as this tab is open
const OWN_NAME = "page";

export class Lock {
  constructor(evse) {
    this.evse = evse;
    this.reason = el("input", { name: "reason", maxlength: "200", autocomplete: "off" });
    this.token = el("input", { name: "token", type: "password", autocomplete: "off", required: "" });
    this.button = el("button", {}, T.lock);
    this.state = el("p", { class: "small" });
    this.answer = el("p", { class: "small", role: "status" });
    this.token.value = sessionStorage.getItem(REMEMBERED) ?? "";
    const form = el(
      "form", {},
      this.state,
      el("label", {}, T.lockReason, this.reason), el("label", {}, T.lockToken, this.token),
      el("p", { class: "small" }, ...marked(T.lockHelp)),
      this.button, this.answer,
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    this.node = el("details", { class: "lock" }, el("summary", {}, T.lockTitle), form);
  }

  update(evse) {
    this.locked = evse.locks.some((lock) => lock.by === OWN_NAME);
    setText(this.state, evse.locks.length ? T.lockedBy(evse.locks) : "");
    setText(this.button, this.locked ? T.unlock : T.lock);
    this.reason.required = !this.locked;
  }

  async send() {
    const body = JSON.stringify({ evse: this.evse, locked: !this.locked, reason: this.reason.value });
    const headers = { "Content-Type": "application/json", "X-Page-Token": this.token.value.trim() };
    try {
      await getJson("/v1/locks", { method: "POST", headers, body });
      sessionStorage.setItem(REMEMBERED, this.token.value.trim());
      this.answer.replaceChildren();
    } catch (error) {
      this.answer.replaceChildren(...marked(error.message));
    }
  }
}
