// One model's place in the grid: a skeleton, then its images or a sentence why there is none. Its size never changes.

import { busy, button, fill, h, icon, iconButton, set, write } from "./dom.js";
import { dollars, time } from "./format.js";
import { texts } from "./texts.js";
import { brokenImage, imageOf, press } from "./viewer.js";

/** How a row ended or stands, with refusals apart from failures. */
export const stateOf = (row) => (row.status === "error" && row.errorCode === "refused" ? "refused" : row.status);

/** Whether it may help to run a row again. */
export const mayRunAgain = (row) => row.status === "cancelled" || (row.status === "error" && row.retryable === true);

/** Number of images that a row asks for. */
const wanted = (row) => row.applied?.n ?? row.adjusted?.n?.used ?? 1;

// No frame follows an image beyond this shape.
const MAX_RATIO = 21 / 9;

const ICON = { refused: "refused", error: "alert", cancelled: "stop" };

/** An image as a button that opens it; where it cannot be loaded, a button that tries again. */
export function imageButton(entry, open) {
  let isBroken = false;
  const cell = h("button", {
    type: "button",
    class: "cell",
    onclick: async () => {
      if (!isBroken) return open(entry);
      entry.url = (await entry.refresh?.().catch(() => null)) ?? entry.url;
      return show();
    },
  });
  const show = (broken = false) => {
    isBroken = broken;
    set(cell, "aria-haspopup", !broken && "dialog");
    fill(cell, broken ? brokenImage(h("b", texts.loadAgain)) : imageOf(entry));
  };
  cell.addEventListener("broken", () => {
    show(true);
    addEventListener("online", () => isBroken && cell.isConnected && show(), { once: true });
  });
  show();
  return cell;
}

/** Set the shape of the frames below an element: "16:9", or square where it is not known. */
export function reserve(element, ratio) {
  const [width, height] = (ratio ?? "1:1").split(":").map(Number);
  element.style.setProperty("--ratio", `${width} / ${height}`);
  set(element, "data-shape", width / height > 1.4 ? "wide" : null);
}

/** The shape of an image for `reserve`, and of what becomes of it; null where its size is not known. */
export function shapeOf({ width, height }) {
  if (!width || !height) return null;
  if (width / height > MAX_RATIO) return "21:9";
  return height / width > MAX_RATIO ? "9:21" : `${width}:${height}`;
}

export class Tile {
  #cells = h("div.cells");
  #over = h("div.over");
  #note = h("p.note");
  #tools = h("div.tools", { hidden: true });
  #shown = new Map();
  #said = "";
  // The row that is shown, for its record.
  row = null;

  /** `on` has open(entry), edit(entry), pick(tile), save(tile), retry(button, rows) and details(tile). */
  constructor(name, note, on = {}) {
    this.name = name;
    this.entries = [];
    this.on = on;
    this.pick = iconButton(texts.pick(name), "compare", { onclick: () => on.pick(this) });
    this.save = iconButton(texts.save(name), "download", { onclick: () => busy(this.save, "", () => on.save(this)) });
    this.edit = iconButton(texts.edit(name), "edit", { onclick: () => on.edit(this.entries[0]) });
    press(this.pick, false);
    this.#note.textContent = note;
    this.element = h(
      "li.tile",
      { "data-state": "idle" },
      h("div.frame", this.#cells, this.#over),
      h("div.caption", h("h3", name), h("div.foot", this.#note, this.#tools)),
    );
    this.#tools.append(this.edit, this.pick, this.save);
  }

  /** Show a row of the job document; `entries` are its images. */
  update(row, entries, { final = false } = {}) {
    this.row = row;
    this.entries = entries;
    const state = stateOf(row);
    set(this.element, "data-state", state);
    const number = Math.max(entries.length, row.status === "pending" || row.status === "in_progress" ? wanted(row) : 1);
    set(this.#cells, "data-number", number);
    this.#place(entries, number);
    this.#explain(row, state, entries, final && mayRunAgain(row));
    this.#tools.hidden = !entries.length;
    this.tick(Date.now());
  }

  /** Show how long the model has been at work; `now` is the present by the service's clock. */
  tick(now) {
    const row = this.row;
    if (!row) return;
    const state = stateOf(row);
    const parts = [];
    if (state === "pending") parts.push(texts.states.pending);
    else if (state === "in_progress") parts.push(texts.states.in_progress, time((now - Date.parse(row.startedAt)) / 1000));
    else {
      if (state !== "completed") parts.push(texts.errors[state === "cancelled" ? state : row.errorCode] ?? texts.states.error);
      if (row.missing) parts.push(texts.missing(row.missing.images));
      if (row.duration !== undefined) parts.push(time(row.duration, true));
      if (dollars(row.cost)) parts.push(dollars(row.cost));
      else if (row.cost) parts.push(texts.cost(null, 1));
    }
    write(this.#note, parts.join(" · "));
  }

  #place(entries, number) {
    for (const [id, cell] of this.#shown) {
      if (!entries.some((entry) => entry.id === id)) {
        cell.remove();
        this.#shown.delete(id);
      }
    }
    for (const entry of entries) {
      // URLs are signed again with each response; an image that is shown stays.
      if (this.#shown.has(entry.id)) continue;
      const cell = imageButton(entry, this.on.open);
      this.#shown.set(entry.id, cell);
      this.#cells.append(cell);
    }
    const blanks = [...this.#cells.querySelectorAll(".blank")];
    const missing = Math.max(0, number - entries.length);
    blanks.slice(missing).forEach((blank) => blank.remove());
    for (let left = missing - blanks.length; left > 0; left -= 1) this.#cells.append(h("div.blank"));
    this.#cells.querySelectorAll(".blank").forEach((blank) => this.#cells.append(blank));
  }

  #explain(row, state, entries, canRetry) {
    const reason = state === "cancelled" ? texts.cancelledLong : row.error;
    const said = ICON[state] && !entries.length ? [state, reason, canRetry].join("|") : "";
    if (said === this.#said) return;
    this.#said = said;
    if (!said) {
      fill(this.#over);
      return;
    }
    const retry = button(texts.retry, {
      kind: "small",
      icon: "again",
      "aria-label": `${texts.retry}: ${this.name}`,
      onclick: () => this.on.retry(retry, [row]),
    });
    fill(
      this.#over,
      icon(ICON[state]),
      h("p.kind", texts.errors[state === "cancelled" ? state : row.errorCode] ?? texts.states.error),
      h("p.why", reason),
      h(
        "div.do",
        canRetry && retry,
        button(texts.details, { kind: "small", "aria-haspopup": "dialog", "aria-label": `${texts.details}: ${this.name}`, onclick: () => this.on.details(this) }),
      ),
    );
  }
}
