// The page: its frame, and the view that the URL names.

import { announce, hush } from "./announce.js";
import { api, config, configure, newKey } from "./api.js";
import { Composer, pricePer } from "./composer.js";
import { busy, button, fill, h, icon, iconButton, set, write } from "./dom.js";
import { JobView } from "./job.js";
import { loadModule } from "./lazy.js";
import { store, stored } from "./storage.js";
import { texts } from "./texts.js";
import { reserve, Tile } from "./tile.js";
import { dragged } from "./viewer.js";

const JOB_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const UNANSWERED = "unanswered";

const banner = h("div.banner", { role: "status" });
const main = h("main", { id: "main", tabindex: "-1" });
const place = h("div.view");
const navigation = {
  create: h("a", { href: "#/" }, texts.create),
  // Shown once config.json says that this deployment has a gallery.
  gallery: h("a", { href: "#/gallery", hidden: true }, texts.gallery),
};

let view = null;
let routes = 0;
// What is known of a job just submitted, until its document arrives.
let submitted = null;
// What budgets have left, and the form for the API key, where there are any.
let left = null;
let keyForm = null;
// Whether the next view is shown for its form.
let isComposing = false;

const page = {
  banner: (text) => write(banner, text),
  titled: () => (document.title = texts.title(view?.title ?? "")),
  reuse: async (job, references) => {
    announce(texts.reused(await composer.reuse(job, references)), true);
    scrollTo({ top: 0 });
  },
  edit: (entry) => compose(() => composer.edit(entry)),
  ended: () => left?.loadSoon(),
  // A budget has less left than the page knew.
  refused: (error) => error.status === 402 && left?.load(),
};

/** Do something with the form, where it can be seen. */
async function compose(work) {
  // Before there is a key, there is no form.
  if (!view) return;
  document.querySelector("dialog")?.close();
  if (!composer.element.isConnected) {
    isComposing = true;
    location.hash = "#/";
  }
  scrollTo({ top: 0 });
  await work();
}

const composer = new Composer({
  changed: () => view?.lineUp?.(),
  allows: (body, cost) => left?.allows(body, cost) ?? true,
  refused: (error) => page.refused(error),
  submit: async (body, known, made) => {
    // A submission that may have made a job although no response came: sending the same one again returns the same job.
    const text = JSON.stringify(body);
    const [before, used] = stored(UNANSWERED).split("\n");
    const key = before === text ? used : newKey();
    store(UNANSWERED, `${text}\n${key}`);
    try {
      const { jobId, totalModels } = await api.generate(body, key);
      store(UNANSWERED, "");
      await made(jobId);
      submitted = { id: jobId, ...known };
      announce(texts.jobStarted(totalModels));
      location.hash = `#/job/${jobId}`;
    } catch (error) {
      // An error that may pass says nothing about an earlier request that got no response.
      if (error.isPassing === false) store(UNANSWERED, "");
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
    this.models = h("section", { "aria-labelledby": "line-up" }, h("h2", { id: "line-up", class: "small" }, texts.lineUp), this.grid);
    this.examples = h("div.examples");
    this.element = h("div.home", this.examples, this.models);
    this.lineUp();
  }

  lineUp() {
    const examples = composer.isEdit ? texts.editExamples : texts.examples;
    if (examples !== this.shownExamples) {
      this.shownExamples = examples;
      const chips = examples.map((example) => button(example, { kind: "chip", onclick: () => composer.suggest(example) }));
      fill(this.examples, h("span.soft", texts.examplesLabel), chips);
    }
    reserve(this.grid, composer.ratio);
    const models = composer.lineUp;
    this.models.hidden = composer.isReady && !models.length;
    const tiles = models.length
      ? models.map((model) => new Tile(model.name, pricePer(composer.priceOf(model))))
      : Array.from({ length: 9 }, () => new Tile("\u00a0", "\u00a0"));
    fill(this.grid, tiles.map((tile) => tile.element));
  }
}

/** A view for what is not there. */
class Nothing {
  constructor(text, action = h("a.button", { href: "#/" }, texts.create)) {
    this.heading = h("h1", { tabindex: "-1" }, text);
    this.element = h("section.empty", this.heading, action);
  }
}

async function viewOf(hash) {
  const [path, query] = hash.replace(/^#\/?/, "").split("?");
  const [first = "", second = ""] = path.split("/").map(decoded);
  if (first === "" && !second) return new Home();
  if (first === "job" && JOB_ID.test(second)) {
    const known = submitted?.id === second ? submitted : null;
    return new JobView(second, page, known ?? {});
  }
  if (first === "gallery" && config.gallery) {
    // Most visits begin with a prompt.
    const { GalleryList, GalleryView } = await loadModule("gallery.js");
    return second ? new GalleryView(second, page) : new GalleryList(new URLSearchParams(query).get("after") ?? "");
  }
  return new Nothing(texts.noSuchPage);
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

async function route() {
  routes += 1;
  const number = routes;
  const next = await viewOf(location.hash).catch(() => new Nothing(texts.unreachable, button(texts.again, { icon: "again", onclick: route })));
  if (number !== routes) {
    next.destroy?.();
    return;
  }
  const first = view === null;
  view?.destroy?.();
  hush();
  // A dialog shows what belongs to the view before.
  document.querySelector("dialog")?.close();
  view = next;
  const composes = view instanceof Home || view instanceof JobView;
  fill(main, view.hero ?? null, composes ? composer.element : null, fill(place, view.element));
  set(navigation.create, "aria-current", composes ? "page" : null);
  set(navigation.gallery, "aria-current", view.gallery);
  page.titled();
  view.load?.();
  if (first) return;
  // After a prompt was sent, the focus stays in the form; otherwise it moves to the new heading.
  if (submitted && submitted.id === view.id) composer.send.focus({ preventScroll: true });
  else if (isComposing) composer.box.focus({ preventScroll: true });
  else view.heading.focus({ preventScroll: true });
  submitted = null;
  isComposing = false;
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

const toggle = themeButton();

function frame() {
  const onclick = (event) => {
    // The part behind # belongs to the views.
    event.preventDefault();
    main.focus();
  };
  const brand = h("a.brand", { href: "#/" }, h("img", { src: "icon.svg", alt: "", width: 24, height: 24 }), texts.name);
  document.body.prepend(
    h("a.skip", { href: "#main", onclick }, texts.skip),
    h("header", brand, h("nav", { "aria-label": texts.navigation }, navigation.create, navigation.gallery), toggle),
    banner,
    main,
  );
  acceptImages();
  // A key that is held down presses a button only once.
  addEventListener("keydown", (event) => event.repeat && event.target.tagName === "BUTTON" && event.key === "Enter" && event.preventDefault());
}

/** Images that are pasted or dropped anywhere become reference images. */
function acceptImages() {
  const hint = h("div.drop", { "aria-hidden": "true", hidden: true }, icon("image"), texts.dropHint);
  const isText = (target) => target instanceof HTMLTextAreaElement || target instanceof HTMLInputElement;
  const carries = ({ dataTransfer }) => dragged.entry !== null || dataTransfer?.types.includes("Files");
  document.body.append(hint);
  addEventListener("paste", (event) => {
    const { clipboardData: data, target } = event;
    // What is copied from an office program is a text and an image of it.
    if (!data?.files.length || (data.getData("text/plain") && isText(target))) return;
    event.preventDefault();
    compose(() => composer.attach([...data.files]));
  });
  for (const name of ["dragenter", "dragover"]) {
    addEventListener(name, (event) => {
      if (!carries(event)) return;
      event.preventDefault();
      hint.hidden = false;
    });
  }
  addEventListener("dragleave", (event) => (hint.hidden ||= !event.relatedTarget));
  addEventListener("dragend", () => (hint.hidden = true));
  addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    hint.hidden = true;
    const { entry } = dragged;
    const files = [...event.dataTransfer.files];
    compose(() => (entry ? composer.edit(entry) : composer.attach(files)));
  });
}

/** Say why the page cannot start, with a button to try again. */
function sayWithAgain(problem) {
  const again = button(texts.again, { icon: "again", onclick: () => busy(again, "", () => start(false)) });
  fill(main, h("section.empty", h("h1", texts.name), h("p", { role: "alert" }, problem), again));
  again.focus();
}

async function start(isFirst = true) {
  fill(main, h("p.summary", texts.loading));
  const problem = await configure();
  if (problem) {
    sayWithAgain(problem);
    return;
  }
  try {
    await prepare();
  } catch {
    sayWithAgain(texts.unreachable);
    return;
  }
  if (keyForm && !keyForm.start()) return;
  await enter(isFirst);
}

/** Load what only some deployments need. */
async function prepare() {
  if (config.usage && !left) {
    const { Left } = await loadModule("usage.js");
    left = new Left();
    composer.budget.replaceWith(left.element);
  }
  if (config.auth === "keys" && !keyForm) {
    const { KeyForm } = await loadModule("key.js");
    keyForm = new KeyForm({
      // With a view, it goes on beside it.
      opened: (element) => (view ? main.before(element) : fill(main, h("div.hero", h("h1", texts.hero), h("p", texts.heroText)), element)),
      accepted: () => enter(false),
    });
    toggle.before(keyForm.forget);
  }
}

/** Show the view that the URL names, and load what the form needs. */
async function enter(isFirst) {
  const isNew = !view;
  navigation.gallery.hidden = !config.gallery;
  if (isNew) addEventListener("hashchange", route);
  await route();
  if (!isFirst) view.heading.focus();
  if (isNew) composer.restore();
  left?.load();
  await composer.load();
}

frame();
start();
