// What is told to a screen reader, and in a note for a moment to everybody.

import { fill, h, icon, write } from "./dom.js";

const NOTE_SECONDS = 4;

const live = h("div.unseen", { role: "status" });
const note = h("div.toast", { "aria-hidden": "true", hidden: true });

const waiting = [];
let timer = 0;

document.body.append(live, note);

/** Tell a screen reader, and with `visibly` everybody. */
export function announce(text, visibly = false) {
  // Beside an open dialog everything is inert.
  const place = document.querySelector("dialog[open]") ?? document.body;
  if (live.parentNode !== place) place.append(live, note);
  write(live, "");
  waiting.push(text);
  // The same text twice is read out only if it was away in between.
  if (waiting.length === 1) setTimeout(() => write(live, waiting.splice(0).join(" ")), 100);
  if (!visibly) return;
  fill(note, icon("check"), text);
  note.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(hush, NOTE_SECONDS * 1000);
}

/** Remove the note: another view is shown. */
export function hush() {
  note.hidden = true;
}
