// Reference images: those of the form, which are uploaded while the prompt is written, and those of a job.

import { announce } from "./announce.js";
import { api, ApiError, newKey, Unreachable } from "./api.js";
import { fill, h, icon, iconButton, set } from "./dom.js";
import { fileName } from "./format.js";
import { REFERENCES, store, stored } from "./storage.js";
import { texts } from "./texts.js";
import { imageButton, shapeOf } from "./tile.js";
import { imageOf } from "./viewer.js";

const MAX_REFERENCES = 8;
const MAX_BYTES = 20 * 1024 ** 2;
// Milliseconds in which an upload is used; the API keeps it for a day.
const UPLOAD_LIFE = 20 * 3600_000;
// Milliseconds without progress after which an upload has failed.
const UPLOAD_PATIENCE = 60_000;
const CACHE = "references";
// In place of a job's ID, for files that are in the form.
const DRAFT = "draft";
// Files that this browser keeps.
const MAX_KEPT = 16;

/** The type of an image that the API accepts, from its first bytes; "" for another file, or a folder. */
async function typeOf(file) {
  const bytes = await file.slice(0, 12).arrayBuffer().catch(() => []);
  const begin = String.fromCharCode(...new Uint8Array(bytes));
  if (begin.startsWith("\x89PNG\r\n\x1a\n")) return "image/png";
  if (begin.startsWith("\xff\xd8\xff")) return "image/jpeg";
  return /^RIFF[^]{4}WEBP/.test(begin) ? "image/webp" : "";
}

/** Upload a file; returns its `uploadId`. `progress` gets the part that is sent, from 0 to 1. */
async function upload(file, progress, signal) {
  const { url, fields, uploadId } = await api.upload(file.type, signal);
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  body.append("file", file);
  // fetch does not say how much it has sent.
  const request = new XMLHttpRequest();
  const stop = () => request.abort();
  let timer = 0;
  const alive = () => {
    clearTimeout(timer);
    timer = setTimeout(stop, UPLOAD_PATIENCE);
  };
  signal.addEventListener("abort", stop);
  alive();
  try {
    await new Promise((resolve, reject) => {
      request.upload.onprogress = ({ loaded, total }) => {
        alive();
        progress(loaded / total);
      };
      request.onload = resolve;
      request.onerror = request.onabort = () => reject(new Unreachable());
      request.open("POST", url);
      request.send(body);
    });
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  }
  if (request.status >= 300) throw new ApiError(request.status, { message: texts.uploadFailed }, new Headers());
  return uploadId;
}

/**
 * The strip of the form. `on` has changed(), focus(element), failed(a sentence or an error, perhaps how to try again), and
 * recovered(), when what failed was removed.
 */
export class References {
  #items = [];
  // Those of the last request.
  #sending = [];
  // How often the strip began again.
  #clearings = 0;
  #wasSent = false;

  constructor(on) {
    this.on = on;
    this.element = h("ul.references", { "aria-label": texts.references, hidden: true });
  }

  get count() {
    return this.#items.length;
  }

  /** The shape of the first image, as "3:2"; null while it is not known. */
  get ratio() {
    const image = this.element.querySelector("img");
    return image && shapeOf({ width: image.naturalWidth, height: image.naturalHeight });
  }

  /** Add files and begin to upload them; what is none of the images that the API accepts is told. */
  async add(files) {
    const wrong = [];
    for (const file of files) {
      const name = file.name || texts.pasted;
      const type = await typeOf(file);
      if (!type) wrong.push(texts.wrongType(name));
      else if (file.size > MAX_BYTES) wrong.push(texts.tooLarge(name, MAX_BYTES / 1024 ** 2));
      else {
        // A file's name may say anything of its type, and its URL must never be more than an image.
        const image = new Blob([file], { type });
        const item = { name, file: image, url: URL.createObjectURL(image), draft: newKey() };
        // What failed is told, and tried again when the prompt is sent.
        if (this.#place(item)) {
          this.#upload(item).catch(() => {});
          await keep(DRAFT, item.draft, image);
        }
        else URL.revokeObjectURL(item.url);
      }
    }
    if (wrong.length) this.on.failed(wrong.join(" "));
  }

  /** Add an image of a job or gallery; whether it is in the form. Once a prompt was sent, it takes the place of what was sent. */
  edit({ imageKey, name, url, refresh }) {
    if (this.#wasSent) this.clear();
    return this.#items.some((item) => item.imageKey === imageKey) || this.#place({ imageKey, name, url, refresh });
  }

  /** Begin again with the reference images of a job; returns the names of those that are not there any more. */
  async reuse(entries) {
    this.clear();
    for (const entry of entries) {
      if (entry.imageKey) this.edit(entry);
      else if (entry.file) await this.add([new File([entry.file], entry.name)]);
    }
    return entries.filter((entry) => !entry.imageKey && !entry.file).map((entry) => entry.name);
  }

  /** Bring back what was in the form before the page was loaded again. */
  async restore() {
    const { items, wasSent } = JSON.parse(stored(REFERENCES));
    for (const { imageKey, name, url, draft } of items) {
      const file = imageKey ? null : await kept(DRAFT, draft);
      if (imageKey) this.edit({ imageKey, name, url });
      else if (file) await this.add([new File([file], name)]);
      else this.on.failed(texts.referencesMissing([name]));
      if (draft) drop(DRAFT, draft);
    }
    this.#wasSent = wasSent;
    this.#save();
  }

  /** The `images` of a request, once all uploads have ended; null if one failed, which is told, or others took their place. */
  async images() {
    const before = this.#clearings;
    if (!(await this.#uploadAll()) || before !== this.#clearings) return null;
    this.#sending = [...this.#items];
    return this.#sending.map((item) => (item.imageKey ? { imageKey: item.imageKey } : { uploadId: item.id }));
  }

  /** Wait until all are uploaded, and upload again what failed; false if one failed, which is told. */
  async #uploadAll() {
    const isOpen = (item) => item.file && !(item.uploadedAt > Date.now() - UPLOAD_LIFE);
    for (let item = this.#items.find(isOpen); item; item = this.#items.find(isOpen)) {
      try {
        await (item.upload ?? this.#upload(item));
      } catch {
        // It may have been removed in the meantime.
        if (this.#items.includes(item)) return false;
      }
    }
    return true;
  }

  /** A job was made with them: keep the files, which only this browser can show again. */
  async sent(jobId) {
    // The strip may have changed since.
    this.#wasSent = this.#items.every((item) => this.#sending.includes(item));
    this.#save();
    await Promise.all(this.#sending.map((item, index) => item.file && keep(jobId, index, item.file)));
  }

  clear() {
    this.#clearings += 1;
    for (const item of [...this.#items]) this.#remove(item);
  }

  #place(item) {
    if (this.count >= MAX_REFERENCES) {
      this.on.failed(texts.tooManyReferences(MAX_REFERENCES));
      return false;
    }
    this.#wasSent = false;
    item.progress = h("progress", { max: 1, value: 0, "aria-label": texts.uploading, hidden: true });
    const remove = iconButton(texts.removeReference(item.name), "close", {
      onclick: () => {
        const next = item.element.nextElementSibling ?? item.element.previousElementSibling;
        this.#remove(item);
        announce(texts.removedReference(item.name));
        this.on.focus(next?.querySelector("button"));
      },
    });
    const thumbnail = imageOf(item, { alt: item.name });
    // Its shape is known.
    thumbnail.addEventListener("load", () => this.on.changed());
    thumbnail.addEventListener("broken", () => thumbnail.replaceWith(icon("image")));
    item.element = h("li", { title: item.name }, thumbnail, item.progress, remove);
    this.#items.push(item);
    this.element.append(item.element);
    this.#changed();
    return true;
  }

  #remove(item) {
    item.stop?.abort();
    if (item.element.dataset.state === "failed") this.on.recovered();
    item.element.remove();
    this.#items = this.#items.filter((each) => each !== item);
    if (item.file) {
      URL.revokeObjectURL(item.url);
      drop(DRAFT, item.draft);
    }
    this.#changed();
  }

  #upload(item) {
    item.upload = this.#run(item);
    return item.upload;
  }

  async #run(item) {
    item.stop = new AbortController();
    item.progress.value = 0;
    item.progress.hidden = false;
    set(item.element, "data-state", "uploading");
    try {
      item.id = await upload(item.file, (part) => (item.progress.value = part), item.stop.signal);
      item.uploadedAt = Date.now();
      set(item.element, "data-state", null);
      announce(texts.uploaded(item.name));
    } catch (error) {
      set(item.element, "data-state", "failed");
      if (!item.stop.signal.aborted) this.on.failed(error, () => this.#uploadAll());
      throw error;
    } finally {
      item.upload = null;
      item.progress.hidden = true;
    }
  }

  #changed() {
    this.element.hidden = !this.count;
    this.#save();
    this.on.changed();
  }

  #save() {
    const items = this.#items.map(({ imageKey, name, url, draft }) => ({ imageKey, name, url, draft }));
    store(REFERENCES, items.length ? JSON.stringify({ items, wasSent: this.#wasSent }) : "");
  }
}

// URLs of kept files: each is made once, and lives as long as the page.
const urls = new Map();

function urlOf(jobId, index, file) {
  const name = nameOf(jobId, index);
  if (!urls.has(name)) urls.set(name, URL.createObjectURL(file));
  return urls.get(name);
}

// For what only https and loopback have, and not every private window.
const memory = new Map();
const nameOf = (jobId, index) => `/references/${jobId}/${index}`;

async function keep(jobId, index, file) {
  const name = nameOf(jobId, index);
  try {
    const cache = await caches.open(CACHE);
    await cache.put(name, new Response(file));
    const all = await cache.keys();
    await Promise.all(all.slice(0, -MAX_KEPT).map((request) => cache.delete(request)));
  } catch {
    memory.set(name, file);
  }
}

async function drop(jobId, index) {
  const name = nameOf(jobId, index);
  memory.delete(name);
  await caches.open(CACHE).then((cache) => cache.delete(name)).catch(() => {});
}

async function kept(jobId, index) {
  const name = nameOf(jobId, index);
  try {
    const found = await (await caches.open(CACHE)).match(name);
    if (found) return await found.blob();
  } catch {
    // It may be in the memory.
  }
  return memory.get(name) ?? null;
}

/**
 * The reference images of a job or a gallery as the dialogs' entries; `url` is null where this browser cannot show it.
 * `jobId` finds those that this browser has uploaded; `refresh(index)` requests the present URL of an earlier image.
 */
export function entriesOf(references, jobId, refresh) {
  const label = texts.record;
  return Promise.all(
    references.map(async (reference) => {
      const { index, source, imageKey } = reference;
      const file = imageKey || !jobId ? null : await kept(jobId, index);
      const url = reference.imageUrl ?? (file && urlOf(jobId, index, file));
      const name = texts.referenceName(references.length > 1 && index + 1);
      return {
        id: `reference-${index}`,
        imageKey: url && imageKey,
        file,
        name,
        url,
        icon: "image",
        sentence: source === "uploadId" ? texts.referenceHidden : texts.referenceUnseen,
        prompt: "",
        fileName: fileName(0, name, reference.imageUrl ?? `.${(file?.type ?? "image/png").slice(6).replace("jpeg", "jpg")}`),
        facts: [
          [label.source, texts.sources[source]],
          [label.host, reference.host],
          [label.reason, reference.error],
          [label.size, reference.width ? texts.size(reference.width, reference.height) : ""],
        ],
        refresh: imageKey ? () => refresh(index) : undefined,
      };
    }),
  );
}

/** Fill an element with a job's reference images; those that can be shown open. */
export function showReferences(element, entries, open, gallery) {
  const thumbnails = entries.map((entry) => {
    const content = entry.url ? imageButton(entry, open) : h("span.cell", { role: "img", "aria-label": `${entry.name}: ${entry.sentence}` }, icon("image"));
    return h("li", { title: entry.url ? entry.name : entry.sentence }, content);
  });
  const link = gallery && h("a", { href: `#/gallery/${encodeURIComponent(gallery)}` }, texts.fromGallery);
  fill(element, h("span.soft", texts.madeFrom), h("ul.references", { "aria-label": texts.references }, thumbnails), link);
}
