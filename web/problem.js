// A place that says what went wrong, and counts down the seconds until the next try.

import { advice, sentence } from "./api.js";
import { busy, button, fill, h, icon, write } from "./dom.js";
import { texts } from "./texts.js";

export class Problem {
  #timer = 0;

  /** `id` is that of the element, for fields that it describes. */
  constructor(id = null) {
    this.element = h("div.problem", { id, hidden: true });
  }

  /** Show an error, or a sentence of the page's own, perhaps with an element to act on it. */
  show(error, action = null) {
    this.clear();
    const text = typeof error === "string" ? error : sentence(error);
    const first = typeof error === "string" ? "" : advice(error);
    // Only the first number is read out; the others are for the eye.
    const rest = h("span", { "aria-hidden": "true" }, first);
    const alert = h("p", { role: "alert" });
    fill(this.element, icon("alert"), h("div", alert, first && h("p.soft", rest)), action);
    this.element.hidden = false;
    fill(alert, text, first && h("span.unseen", ` ${first}`));
    if (!first) return;
    const until = Date.now() + error.retryAfter * 1000;
    this.#timer = setInterval(() => {
      const left = Math.ceil((until - Date.now()) / 1000);
      write(rest, advice(error, left));
      if (left <= 0) clearInterval(this.#timer);
    }, 1000);
  }

  /** A button that does `work` again; then the focus is on the button that stands here, or on `next`. */
  again(work, next) {
    const element = button(texts.again, {
      icon: "again",
      onclick: () =>
        busy(element, "", async () => {
          await work();
          if (next.isConnected) (this.element.querySelector("button") ?? next).focus();
        }),
    });
    return element;
  }

  clear() {
    clearInterval(this.#timer);
    this.element.hidden = true;
    fill(this.element);
  }
}
