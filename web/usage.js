// What budgets have left: shown beside the button that sends a prompt, and compared with what a job may cost.

import { api } from "./api.js";
import { h, set, write } from "./dom.js";
import { date, dollars } from "./format.js";
import { loadModule } from "./lazy.js";
import { texts } from "./texts.js";

// Part of a budget below which little is left.
const LITTLE = 0.1;
// Milliseconds from the end of a job until its cost is settled.
const SETTLING = 2000;

// Whole cents, where it is that much; never more than is left.
const cents = (value, round) => dollars({ amount: value < 0.01 ? value : round(value * 100) / 100 });
const amount = (value) => cents(value, (number) => Math.floor(number + 1e-6));

export class Left {
  #least = null;
  #confirmAbove = 1;
  #asked = 0;
  #timer = 0;

  constructor() {
    this.element = h("span.left", { hidden: true });
  }

  /** Ask what is left now; without a response nothing is shown. */
  async load() {
    clearTimeout(this.#timer);
    this.#asked += 1;
    const number = this.#asked;
    const usage = await api.usage().catch(() => null);
    if (number === this.#asked) this.#show(usage?.budgets ?? [], usage?.confirmAbove ?? 1);
  }

  /** Ask again when the cost of a job that has just ended is known. */
  loadSoon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.load(), SETTLING);
  }

  #show(budgets, confirmAbove) {
    this.#confirmAbove = confirmAbove;
    this.#least = budgets.reduce((least, each) => (least && least.left <= each.left ? least : each), null);
    this.element.hidden = !this.#least;
    if (!this.#least) return;
    const { left, limit, window } = this.#least;
    write(this.element, texts.left(amount(left), window));
    set(this.element, "data-little", left < limit * LITTLE);
    const lines = budgets.map((each) => texts.budget(each.scope, amount(each.left), amount(each.limit), each.window, date(each.renewsAt)));
    set(this.element, "title", lines.join("\n"));
  }

  /**
   * Whether a job is to be sent: asks if it may cost much of what is left. `estimate` is what it may cost, or null where
   * only the API knows what `body` costs.
   */
  async allows(body, estimate) {
    if (!this.#least || this.#confirmAbove >= 1) return true;
    const { left, window } = this.#least;
    // What the API has against the job, it says again when the job is sent.
    const cost = estimate ?? (await api.estimate(body).catch(() => null))?.cost.amount;
    if (!cost || cost <= this.#confirmAbove * left) return true;
    const { ask } = await loadModule("ask.js");
    return ask(texts.mayCost(cents(cost, Math.round), cost > left ? 0 : Math.round((cost / left) * 100), amount(left), window), texts.sendIt, texts.dontSend);
  }
}
