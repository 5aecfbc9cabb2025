// The caller's API key: asked for before anything else, kept for the tab or on the device, and forgotten.

import { access, api } from "./api.js";
import { busy, button, h, set } from "./dom.js";
import { loadModule } from "./lazy.js";
import { Problem } from "./problem.js";
import { store, stored } from "./storage.js";
import { texts } from "./texts.js";

const NAME = "apiKey";
const FORM = /^pp_[0-9A-Za-z]{49}$/;

function onDevice() {
  try {
    return localStorage.getItem(NAME) ?? "";
  } catch {
    return "";
  }
}

/** Keep a key for the tab, or on the device; "" forgets it. */
function keep(key, isOnDevice = false) {
  store(NAME, isOnDevice ? "" : key);
  try {
    if (isOnDevice) localStorage.setItem(NAME, key);
    else localStorage.removeItem(NAME);
  } catch {
    // Storage is forbidden: it is kept for the tab.
    store(NAME, key);
  }
}

export class KeyForm {
  #problem = new Problem("key-problem");

  /** `on` has opened(element) and accepted(). */
  constructor(on) {
    this.on = on;
    this.field = h("input", {
      id: "key",
      type: "password",
      autocomplete: "off",
      spellcheck: "false",
      "aria-describedby": "key-problem",
    });
    this.device = h("input", { type: "checkbox" });
    this.device.checked = onDevice() !== "";
    this.use = button(texts.keyUse, { kind: "primary", type: "submit" });
    this.forget = button(texts.keyForget, { kind: "compact", icon: "key", hidden: true, onclick: () => this.#forget() });
    this.element = h(
      "section.key",
      { "aria-labelledby": "key-label" },
      h(
        "form",
        { onsubmit: (event) => this.#take(event), novalidate: true },
        h("label", { for: "key", id: "key-label" }, texts.key),
        // Without a name, the browser itself would send nothing.
        h("div.row", this.field, this.use),
        h("label.row", this.device, texts.keyKeep),
      ),
      this.#problem.element,
    );
    // The network may have been to blame.
    access.accepted = () => this.#close();
    access.refused = () => this.#open(texts.keyRefused);
    // Another tab has forgotten the key of this device.
    addEventListener("storage", ({ key, newValue }) => key === NAME && !newValue && access.key && !stored(NAME) && this.#leave());
  }

  /** Use the key that is kept; without one, ask for it. */
  start() {
    access.key = stored(NAME) || onDevice();
    this.forget.hidden = !access.key;
    if (!access.key) this.#open();
    return access.key !== "";
  }

  #open(problem = "") {
    if (this.element.isConnected) return;
    this.on.opened(this.element);
    this.#problem.clear();
    // Where it was noticed, it is told as well.
    if (problem) this.#problem.show(problem);
  }

  #close() {
    if (!this.element.isConnected) return;
    const hadFocus = this.element.contains(document.activeElement);
    this.element.remove();
    this.field.value = "";
    if (hadFocus) document.getElementById("main").focus();
  }

  #take(event) {
    event.preventDefault();
    const key = this.field.value.trim();
    const isWrong = !FORM.test(key);
    set(this.field, "aria-invalid", isWrong && "true");
    if (isWrong) {
      this.#problem.show(key ? texts.keyWrong : texts.keyMissing);
      this.field.focus();
      return undefined;
    }
    return busy(this.use, texts.keyChecking, () => this.#check(key));
  }

  async #check(key) {
    const before = access.key;
    this.#problem.clear();
    access.key = key;
    try {
      await api.models();
    } catch (error) {
      this.#problem.show(error);
      access.key = before;
      this.field.focus();
      return;
    }
    this.#close();
    keep(key, this.device.checked);
    this.forget.hidden = false;
    await this.on.accepted();
  }

  async #forget() {
    const { ask } = await loadModule("ask.js");
    if (!(await ask(texts.keyForgetAsk, texts.keyForget, texts.keyKeepIt))) return;
    keep("");
    this.#leave();
  }

  /** Start again without what belongs to the key: jobs, images, and what is in the form. */
  #leave() {
    access.key = "";
    try {
      sessionStorage.clear();
    } catch {
      // Nothing is kept.
    }
    history.replaceState(null, "", "#/");
    location.reload();
  }
}
