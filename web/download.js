// Saves images. Where they may not be fetched (another origin that does not allow it), the caller learns it.

import { announce } from "./announce.js";
import { button, busy } from "./dom.js";
import { loadModule } from "./lazy.js";
import { texts } from "./texts.js";

// Images that are fetched at the same time.
const AT_ONCE = 4;

/** The bytes of an image as a Blob; an expired URL is requested again, once. */
async function fetchImage(entry) {
  try {
    return await load(entry.url);
  } catch (error) {
    const fresh = await entry.refresh?.();
    if (!fresh || fresh === entry.url) throw error;
    entry.url = fresh;
    return load(fresh);
  }
}

async function load(url) {
  // What the browser has cached for an <img> of another origin lacks the headers that allow a script to read it.
  const response = await fetch(url, { cache: "no-store", credentials: "omit", referrerPolicy: "no-referrer" });
  if (!response.ok) throw new Error(response.status);
  return response.blob();
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Save one image; where it cannot be fetched, it opens in its own tab, and the result is false. */
export async function saveImage(entry) {
  try {
    save(await fetchImage(entry), entry.fileName);
    return true;
  } catch {
    window.open(entry.url, "_blank", "noopener");
    return false;
  }
}

/**
 * Save images in one archive, with `extra` files (`{name, bytes}`) beside them.
 * Returns how many are in it; without any, nothing is saved.
 */
export async function saveArchive(entries, name, extra = [], progress = () => {}) {
  const found = [];
  let done = 0;
  progress(0, entries.length);
  const queue = entries.entries();
  const worker = async () => {
    for (const [number, entry] of queue) {
      try {
        found[number] = { name: entry.fileName, bytes: new Uint8Array(await (await fetchImage(entry)).arrayBuffer()) };
      } catch {
        // It is missing in the number that is returned.
      }
      done += 1;
      progress(done, entries.length);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  const files = found.filter(Boolean);
  if (!files.length) return 0;
  try {
    const { zip } = await loadModule("zip.js");
    save(zip([...files, ...extra]), name);
    return files.length;
  } catch {
    // Too large for one archive or for this browser's memory, or the network is gone.
    return 0;
  }
}

/** A button that saves the images of now in one archive, with the files of `extra`; what fails is shown as a problem. */
export function archiveButton(name, problem, entries, extra = () => []) {
  const element = button(texts.downloadAll, {
    icon: "download",
    onclick: () =>
      busy(element, "", async (label) => {
        const all = entries();
        const saved = await saveArchive(all, name, extra(), (done, number) => label(texts.downloading(done, number)));
        if (saved === all.length) {
          problem.clear();
          announce(texts.downloaded(saved));
        } else problem.show(texts.downloadFailed(saved && all.length - saved));
      }),
  });
  return element;
}
