// Earlier jobs: pages of galleries, newest first, and the images of one.

import { api } from "./api.js";
import { button, fill, h, icon, iconButton, set } from "./dom.js";
import { archiveButton } from "./download.js";
import { date, fileName, galleryDate } from "./format.js";
import { loadModule } from "./lazy.js";
import { Problem } from "./problem.js";
import { imageCount, texts } from "./texts.js";
import { imageButton, reserve } from "./tile.js";
import { brokenImage, imageOf, showComparison, showImage } from "./viewer.js";

const PAGE = 24;

class View {
  // What its link in the navigation is to a screen reader.
  gallery = "true";

  constructor(heading) {
    this.title = heading;
    this.heading = h("h1", { tabindex: "-1" }, heading);
    this.lead = h("p.summary", texts.loading);
    this.madeFrom = h("div.made-from", { hidden: true });
    this.actions = h("div.actions");
    this.body = h("div");
    this.problem = new Problem();
    this.element = h(
      "section.gallery",
      { "aria-busy": "true" },
      h("div.job-head", h("div.job-title", this.heading, this.lead, this.madeFrom), this.actions),
      this.problem.element,
      this.body,
    );
  }

  async load() {
    this.problem.clear();
    set(this.element, "aria-busy", "true");
    try {
      await this.show();
    } catch (error) {
      this.lead.textContent = "";
      this.problem.show(error, this.problem.again(() => this.load(), this.heading));
    } finally {
      set(this.element, "aria-busy", "false");
    }
  }

  destroy() {
    this.problem.clear();
  }
}

/** One page of galleries; `cursor` is the end of the page before, "" for the first. */
export class GalleryList extends View {
  gallery = "page";

  constructor(cursor) {
    super(texts.galleryTitle);
    this.cursor = cursor;
  }

  async show() {
    const page = await api.galleries(PAGE, this.cursor);
    this.lead.textContent = page.total ? texts.galleryText(page.total, page.totalIsExact) : "";
    if (!page.galleries.length) {
      fill(this.body, h("p.empty", texts.galleryEmpty, " ", h("a", { href: "#/" }, texts.galleryFirst)));
      return;
    }
    const list = h(
      "ul.grid.covers",
      page.galleries.map((gallery) => {
        const when = date(gallery.createdAt);
        const cover = imageOf({ url: gallery.coverUrl }, { loading: "lazy", alt: "" });
        cover.addEventListener("broken", () => cover.replaceWith(brokenImage()));
        return h(
          "li.tile",
          h(
            "a.cover",
            { href: `#/gallery/${encodeURIComponent(gallery.galleryId)}` },
            h("span.frame", cover),
            h("span.label", h("span.name", when), h("span.note", imageCount(gallery.images))),
          ),
        );
      }),
    );
    reserve(list, "1:1");
    fill(
      this.body,
      h("h2.unseen", texts.images),
      list,
      h(
        "nav.pages",
        { "aria-label": texts.pages },
        this.cursor && h("a.button", { href: "#/gallery" }, icon("left"), texts.newest),
        page.nextCursor &&
          h("a.button", { href: `#/gallery?after=${encodeURIComponent(page.nextCursor)}` }, texts.older, icon("right")),
      ),
    );
  }
}

/** The images of one job. */
export class GalleryView extends View {
  /** `page` has edit(entry). */
  constructor(id, page) {
    const when = galleryDate(id);
    super(when ? texts.galleryOf(when) : texts.galleryTitle);
    this.id = id;
    this.page = page;
  }

  async show() {
    const gallery = await api.gallery(this.id);
    this.lead.textContent = gallery.total ? imageCount(gallery.total) : "";
    const back = h("a.button", { href: "#/gallery" }, icon("left"), texts.back);
    if (!gallery.images.length) {
      fill(this.actions, back);
      fill(this.body, h("p.empty", texts.galleryGone));
      return;
    }
    const entries = gallery.images.map((image, index) => this.#entry(image, index, gallery.images));
    const view = (all) => (entry) => showImage(all, all.indexOf(entry), (chosen) => this.page.edit(chosen));
    const open = view(entries);
    const before = await this.#madeFrom(gallery.references ?? [], view);
    const list = h(
      "ul.grid",
      entries.map((entry, index) =>
        h(
          "li.tile",
          { "data-state": "completed" },
          h("div.frame", h("div.cells", { "data-number": 1 }, imageButton(entry, open))),
          h(
            "div.caption",
            h("h3", entry.name),
            h("div.foot", h("p.note", size(gallery.images[index])), h("div.tools", this.#editButton(entry))),
          ),
        ),
      ),
    );
    const first = gallery.images.find((image) => image.width && image.height);
    reserve(list, first && `${first.width}:${first.height}`);
    const save = archiveButton(`pixel-prompt-${this.id}.zip`, this.problem, () => entries);
    const all = [...before, ...entries];
    const compare = button(texts.compare, { icon: "compare", onclick: () => showComparison(all, 0, before.length || 1) });
    fill(this.actions, back, all.length > 1 && compare, save);
    fill(this.body, h("h2.unseen", texts.images), list);
  }

  /** Show what the images were made from; returns the entries that can be shown. */
  async #madeFrom(references, view) {
    this.madeFrom.hidden = !references.length;
    if (!references.length) return [];
    const { entriesOf, showReferences } = await loadModule("references.js");
    const refresh = async (index) => (await api.gallery(this.id)).references[index].imageUrl;
    const entries = await entriesOf(references, "", refresh);
    const shown = entries.filter((entry) => entry.url);
    showReferences(this.madeFrom, entries, view(shown), references.find((each) => each.fromGallery)?.fromGallery);
    return shown;
  }

  #editButton(entry) {
    return iconButton(texts.edit(entry.name), "edit", { onclick: () => this.page.edit(entry) });
  }

  #entry(image, index, all) {
    const same = all.filter((each) => each.model === image.model);
    const name = same.length > 1 ? texts.numbered(image.model, same.indexOf(image) + 1) : image.model;
    return {
      id: image.imageKey,
      imageKey: image.imageKey,
      name,
      url: image.imageUrl,
      fileName: fileName(index + 1, name, image.imageUrl),
      facts: [
        [texts.record.size, size(image)],
        [texts.record.seed, String(image.seed ?? texts.unknown)],
        [texts.record.created, galleryDate(this.id)],
      ],
      refresh: async () => {
        const { images } = await api.gallery(this.id);
        return images.find((each) => each.imageKey === image.imageKey)?.imageUrl ?? null;
      },
    };
  }
}

const size = (image) => (image.width ? texts.size(image.width, image.height) : "");
