// Dialogs: one image with its record, and two images side by side.
//
// Both show entries: {id, imageKey, name, url, prompt, fileName, facts, refresh}. `facts` are pairs of a label and a text or a
// list of texts; `refresh` requests the image's present URL.

import { button, busy, fill, h, icon, iconButton, set } from "./dom.js";
import { saveImage } from "./download.js";
import { texts } from "./texts.js";

/** The image of the page that is dragged, where it can be edited. */
export const dragged = { entry: null };

/** An image of an entry that requests a fresh URL once, and says so if it cannot be loaded. */
export function imageOf(entry, attributes = {}) {
  const image = h("img", { alt: texts.alt(entry.name, entry.prompt), ...attributes });
  image.addEventListener("dragstart", () => (dragged.entry = entry.imageKey ? entry : null));
  image.addEventListener("dragend", () => (dragged.entry = null));
  let isFresh = false;
  image.addEventListener("load", () => image.classList.add("there"));
  image.addEventListener("error", async () => {
    const url = isFresh ? null : await entry.refresh?.().catch(() => null);
    isFresh = true;
    if (url && url !== image.getAttribute("src")) image.src = entry.url = url;
    else image.dispatchEvent(new CustomEvent("broken", { bubbles: true }));
  });
  image.src = entry.url;
  return image;
}

/** The placeholder of an image that cannot be loaded. */
export const brokenImage = (action) => h("span.broken", icon("again"), texts.imageBroken, action);

function stageOf() {
  const stage = h("div.stage");
  stage.addEventListener("broken", () => fill(stage, brokenImage()));
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

/** Show an entry with its record, and the way to its neighbors; `edit(entry)` is for images that have a key. */
export function showImage(entries, index, edit = null) {
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
        if (!(await saveImage(entries[position]))) said.textContent = texts.downloadFailed();
      }),
  });
  const file = h("a.button", { target: "_blank", rel: "noopener noreferrer" }, icon("open"), texts.openOriginal);
  // Its URL may have been signed again.
  stage.addEventListener("load", () => (file.href = entries[position].url), true);
  const change = button(texts.editThis, {
    icon: "edit",
    onclick: () => {
      dialog.close();
      edit(entries[position]);
    },
  });
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
    fill(stage, entry.url ? imageOf(entry) : h("div.absent", icon(entry.icon ?? "alert"), h("p", entry.sentence)));
    fill(facts, record(entry.facts));
    said.textContent = "";
    download.hidden = file.hidden = !entry.url;
    copyPrompt.hidden = !entry.prompt;
    change.hidden = !edit || !entry.imageKey;
    if (entry.url) file.href = entry.url;
  }

  const several = entries.length > 1;
  show();
  const dialog = open("viewer", title, (head) => [
    h("div.stage-side", stage, several && h("div.turn", previous, next)),
    h("div.side", head, facts, h("div.actions", change, download, file, copyPrompt), said),
  ]);
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    // With Alt it is the browser's way back.
    if (several && step && !event.altKey) go(step);
  });
}

/** Show two entries side by side; each side can turn to any other. Returns the dialog. */
export function showComparison(entries, left, right) {
  function side(label, index) {
    const stage = stageOf();
    // It may have to be scrolled, by the keyboard too.
    const facts = h("div.facts", { tabindex: 0, role: "group", "aria-label": label });
    const choice = h(
      "select",
      { "aria-label": label, onchange: () => show(Number(choice.value)) },
      entries.map((entry, number) => h("option", { value: number }, entry.name)),
    );
    const show = (number) => {
      const entry = entries[number];
      fill(stage, imageOf(entry));
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
