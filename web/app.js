// The page: its frame, and which view the address names.

import { api, config, configure, newKey } from "./api.js";
import { Composer, pricePer } from "./composer.js";
import { button, fill, h, icon, iconButton, set, write } from "./dom.js";
import { GalleryList, GalleryView } from "./gallery.js";
import { JobView } from "./job.js";
import { texts } from "./texts.js";
import { reserve, Tile } from "./tile.js";

const JOB_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const TOAST_SECONDS = 4;

const live = h("div.unseen", { role: "status" });
const toast = h("div.toast", { "aria-hidden": "true", hidden: true });
const banner = h("div.banner", { role: "status" });
const main = h("main", { id: "main", tabindex: "-1" });
const place = h("div.view");
const navigation = {
  create: h("a", { href: "#/" }, texts.create),
  // Shown once config.json says that this deployment has a gallery.
  gallery: h("a", { href: "#/gallery", hidden: true }, texts.gallery),
};

let view = null;
// What is known of a job just submitted, until its document arrives.
let submitted = null;
// The last submission that may have made a job although nobody said so: the same one again is the same job.
let unanswered = null;
let toastTimer = 0;

/** Tell a screen reader, and with `visibly` everybody. */
function announce(text, visibly = false) {
  write(live, "");
  // The same text twice is announced only if it was away in between.
  setTimeout(() => write(live, text), 50);
  if (!visibly) return;
  fill(toast, icon("check"), text);
  toast.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (toast.hidden = true), TOAST_SECONDS * 1000);
}

const page = {
  announce,
  banner: (text) => write(banner, text),
  titled: () => (document.title = texts.title(view?.title ?? "")),
  reuse: (job) => {
    composer.reuse(job);
    announce(texts.reused, true);
    scrollTo({ top: 0 });
  },
};

const composer = new Composer({
  announce,
  changed: () => view?.lineUp?.(),
  submit: async (body, rows) => {
    const text = JSON.stringify(body);
    const key = unanswered?.text === text ? unanswered.key : newKey();
    unanswered = { text, key };
    try {
      const { jobId, totalModels } = await api.generate(body, key);
      unanswered = null;
      submitted = { id: jobId, rows, ratio: body.aspectRatio ?? null };
      announce(texts.jobStarted(totalModels));
      location.hash = `#/job/${jobId}`;
    } catch (error) {
      if (error.status < 500) unanswered = null;
      throw error;
    }
  },
});

/** The empty page: what it is for, examples, and who will draw. */
class Home {
  constructor() {
    this.heading = h("h1", { tabindex: "-1" }, texts.hero);
    this.hero = h("div.hero", this.heading, h("p", texts.heroText));
    this.grid = h("ul.grid");
    this.element = h(
      "div.home",
      h(
        "div.examples",
        h("span.soft", texts.examplesLabel),
        texts.examples.map((example) => button(example, { kind: "chip", onclick: () => composer.suggest(example) })),
      ),
      h("section", { "aria-labelledby": "line-up" }, h("h2", { id: "line-up", class: "small" }, texts.lineUp), this.grid),
    );
    this.lineUp();
  }

  lineUp() {
    reserve(this.grid, composer.ratio);
    const models = composer.lineUp;
    const tiles = models.length
      ? models.map((model) => new Tile(model.name, pricePer(model)))
      : Array.from({ length: 9 }, () => new Tile("\u00a0", "\u00a0"));
    fill(this.grid, tiles.map((tile) => tile.element));
  }
}

/** A view for what is not there. */
class Nothing {
  constructor(text) {
    this.heading = h("h1", { tabindex: "-1" }, text);
    this.element = h("section.empty", this.heading, h("a.button", { href: "#/" }, texts.create));
  }
}

function viewOf(hash) {
  const [path, query] = hash.replace(/^#\/?/, "").split("?");
  const [first = "", second = ""] = path.split("/").map(decoded);
  if (first === "" && !second) return new Home();
  if (first === "job" && JOB_ID.test(second)) {
    const known = submitted?.id === second ? submitted : null;
    return new JobView(second, page, known?.rows.length ? known.rows : null, known?.ratio);
  }
  if (first === "gallery" && config.gallery) return second ? new GalleryView(second) : new GalleryList(new URLSearchParams(query).get("after") ?? "");
  return new Nothing(texts.noSuchPage);
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function route() {
  const first = view === null;
  view?.destroy?.();
  // A dialog shows what belongs to the view before.
  document.querySelector("dialog")?.close();
  view = viewOf(location.hash);
  const composes = view instanceof Home || view instanceof JobView;
  fill(main, view.hero ?? null, composes ? composer.element : null, fill(place, view.element));
  set(navigation.create, "aria-current", composes ? "page" : null);
  set(navigation.gallery, "aria-current", view instanceof GalleryList ? "page" : null);
  page.titled();
  view.load?.();
  if (first) return;
  // Whoever has just sent a prompt stays in the form; every other way leads to the new heading.
  if (submitted?.id === view.id) composer.send.focus({ preventScroll: true });
  else view.heading.focus({ preventScroll: true });
  submitted = null;
  scrollTo({ top: 0 });
}

function themeButton() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const toggle = iconButton("", "moon", {
    onclick: () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try {
        localStorage.setItem("theme", root.dataset.theme);
      } catch {
        // Storage is forbidden: the choice holds until the page is closed.
      }
      show();
    },
  });
  const show = () => {
    const label = isDark() ? texts.toLight : texts.toDark;
    set(toggle, "aria-label", label);
    set(toggle, "title", label);
    fill(toggle, icon(isDark() ? "sun" : "moon"));
  };
  dark.addEventListener("change", show);
  show();
  return toggle;
}

function frame() {
  const onclick = (event) => {
    // The part behind # belongs to the views.
    event.preventDefault();
    main.focus();
  };
  const brand = h("a.brand", { href: "#/" }, h("img", { src: "icon.svg", alt: "", width: 24, height: 24 }), texts.name);
  document.body.prepend(
    h("a.skip", { href: "#main", onclick }, texts.skip),
    h("header", brand, h("nav", { "aria-label": texts.navigation }, navigation.create, navigation.gallery), themeButton()),
    banner,
    main,
    live,
    toast,
  );
}

async function start() {
  frame();
  main.append(h("p.summary", texts.loading));
  if (!(await configure())) {
    fill(main, h("p.empty", { role: "alert" }, texts.noConfig));
    return;
  }
  navigation.gallery.hidden = !config.gallery;
  addEventListener("hashchange", route);
  route();
  await composer.load();
}

start();
