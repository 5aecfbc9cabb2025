// Dialogs: one picture with its record, and two pictures side by side.
//
// Both show entries: {id, name, url, prompt, fileName, facts, refresh}. `facts` are pairs of a label and a text or a
// list of texts; `refresh` asks for the picture's address anew.

import { button, busy, fill, h, icon, iconButton, set } from "./dom.js";
import { savePicture } from "./download.js";
import { texts } from "./texts.js";

/** A picture of an entry that asks for a fresh address once, and says so where it cannot be loaded. */
export function pictureOf(entry, attributes = {}) {
  const picture = h("img", { alt: texts.alt(entry.name, entry.prompt), ...attributes });
  let isFresh = false;
  picture.addEventListener("load", () => picture.classList.add("there"));
  picture.addEventListener("error", async () => {
    const url = isFresh ? null : await entry.refresh?.().catch(() => null);
    isFresh = true;
    if (url && url !== picture.getAttribute("src")) picture.src = entry.url = url;
    else picture.dispatchEvent(new CustomEvent("broken", { bubbles: true }));
  });
  picture.src = entry.url;
  return picture;
}

/** What stands in the place of a picture that cannot be loaded. */
export const brokenPicture = (action) => h("span.broken", icon("again"), texts.pictureBroken, action);

function stageOf() {
  const stage = h("div.stage");
  stage.addEventListener("broken", () => fill(stage, brokenPicture()));
  return stage;
}

function record(facts) {
  return h(
    "dl.record",
    facts
      .filter(([, value]) => value && value.length)
      .map(([label, value]) =>
        h("div", h("dt", label), [value].flat().map((text) => h("dd", text))),
      ),
  );
}

/** Copy a text; what to tell about it. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return texts.copied;
  } catch {
    return texts.copyFailed;
  }
}

/** Open a dialog with what `content(head)` makes around its head: the title and a button that closes it. */
function open(kind, title, content) {
  const close = iconButton(texts.close, "close", { onclick: () => dialog.close() });
  const heading = h("h2", { id: "dialog-title", tabindex: "-1", "aria-live": "polite" }, title);
  const dialog = h("dialog", { class: kind, "aria-labelledby": "dialog-title", closedby: "any" });
  fill(dialog, ...content(h("div.side-head", heading, close)));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Show an entry with its record, and the way to its neighbours. */
export function showPicture(entries, index) {
  let position = index;
  const title = h("span");
  const stage = stageOf();
  const facts = h("div.facts");
  const said = h("p.said", { role: "status" });
  const previous = iconButton(texts.previous, "left", { onclick: () => go(-1) });
  const next = iconButton(texts.next, "right", { onclick: () => go(1) });
  const download = button(texts.download, {
    kind: "primary",
    icon: "download",
    onclick: () =>
      busy(download, "", async () => {
        if (!(await savePicture(entries[position]))) said.textContent = texts.downloadFailed();
      }),
  });
  const file = h("a.button", { target: "_blank", rel: "noopener noreferrer" }, icon("open"), texts.openOriginal);
  // Its address may have been signed anew.
  stage.addEventListener("load", () => (file.href = entries[position].url), true);
  const copyPrompt = button(texts.copyPrompt, {
    icon: "copy",
    onclick: async () => (said.textContent = await copy(entries[position].prompt)),
  });

  function go(step) {
    position = (position + step + entries.length) % entries.length;
    show();
  }

  function show() {
    const entry = entries[position];
    title.textContent = entry.name;
    fill(stage, entry.url ? pictureOf(entry) : h("div.absent", icon(entry.icon ?? "alert"), h("p", entry.sentence)));
    fill(facts, record(entry.facts));
    said.textContent = "";
    download.hidden = file.hidden = !entry.url;
    copyPrompt.hidden = !entry.prompt;
    if (entry.url) file.href = entry.url;
  }

  const several = entries.length > 1;
  show();
  open("viewer", title, (head) => [
    h("div.stage-side", stage, several && h("div.turn", previous, next)),
    h("div.side", head, facts, h("div.actions", download, file, copyPrompt), said),
  ]).addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    // With Alt it is the browser's way back.
    if (several && step && !event.altKey) go(step);
  });
}

/** Show two entries side by side; each side can turn to any other. Returns the dialog. */
export function showComparison(entries, left, right) {
  function side(label, index) {
    const stage = stageOf();
    const facts = h("div.facts");
    const choice = h(
      "select",
      { "aria-label": label, onchange: () => show(Number(choice.value)) },
      entries.map((entry, number) => h("option", { value: number }, entry.name)),
    );
    const show = (number) => {
      const entry = entries[number];
      fill(stage, pictureOf(entry));
      // The prompt is the same on both sides; what differs is worth the room.
      fill(facts, record(entry.facts.filter(([name]) => name !== texts.record.prompt)));
    };
    choice.value = String(index);
    show(index);
    return h("section", { "aria-label": label }, choice, stage, facts);
  }

  return open("comparison", texts.compareTitle, (head) => [
    head,
    h("div.sides", side(texts.compareLeft, left), side(texts.compareRight, right)),
  ]);
}

export const press = (element, pressed) => set(element, "aria-pressed", String(pressed));
