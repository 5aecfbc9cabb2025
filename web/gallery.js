// Earlier jobs: pages of galleries, newest first, and the images of one.

import { api } from "./api.js";
import { button, fill, h, icon, set } from "./dom.js";
import { archiveButton } from "./download.js";
import { date, fileName, galleryDate } from "./format.js";
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
    this.actions = h("div.actions");
    this.body = h("div");
    this.problem = new Problem();
    this.element = h(
      "section.gallery",
      { "aria-busy": "true" },
      h("div.job-head", h("div.job-title", this.heading, this.lead), this.actions),
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
  constructor(id) {
    const when = galleryDate(id);
    super(when ? texts.galleryOf(when) : texts.galleryTitle);
    this.id = id;
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
    const open = (entry) => showImage(entries, entries.indexOf(entry));
    const list = h(
      "ul.grid",
      entries.map((entry, index) =>
        h(
          "li.tile",
          { "data-state": "completed" },
          h("div.frame", h("div.cells", { "data-number": 1 }, imageButton(entry, open))),
          h("div.caption", h("h3", entry.name), h("p.note", size(gallery.images[index]))),
        ),
      ),
    );
    const first = gallery.images.find((image) => image.width && image.height);
    reserve(list, first && `${first.width}:${first.height}`);
    const save = archiveButton(`pixel-prompt-${this.id}.zip`, this.problem, () => entries);
    const compare = button(texts.compare, { icon: "compare", onclick: () => showComparison(entries, 0, 1) });
    fill(this.actions, back, entries.length > 1 && compare, save);
    fill(this.body, h("h2.unseen", texts.images), list);
  }

  #entry(image, index, all) {
    const same = all.filter((each) => each.model === image.model);
    const name = same.length > 1 ? texts.numbered(image.model, same.indexOf(image) + 1) : image.model;
    return {
      id: image.imageKey,
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
