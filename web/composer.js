// The form: a prompt, which models draw it, and how.

import { announce } from "./announce.js";
import { api, sentence } from "./api.js";
import { busy, button, fill, h, icon, set, write } from "./dom.js";
import { dollars, length } from "./format.js";
import { loadModule } from "./lazy.js";
import { Problem } from "./problem.js";
import { REFERENCES, store, stored } from "./storage.js";
import { texts } from "./texts.js";

const PROMPT_LIMIT = 1000;
const ENHANCE_LIMIT = 500;
const MAX_IMAGES = 4;
const MAX_SEED = 2 ** 32 - 1;
const ASPECT_RATIOS = [
  ...["1:1", "2:1", "1:2", "3:2", "2:3", "4:3", "3:4", "5:4", "4:5", "16:9", "9:16", "21:9", "9:21"],
  ...["19.5:9", "9:19.5", "20:9", "9:20", "4:1", "1:4", "8:1", "1:8"],
];
const OPTIONS = ["aspectRatio", "quality", "resolution", "strength", "seed", "n", "images"];
const DRAFT = "prompt";
// Milliseconds in which a second press is a double click.
const DOUBLE_CLICK = 1000;

export class Composer {
  #models = [];
  #chosen = new Set();
  #problem = new Problem("problem");
  #unlisted = new Problem();
  #sentAt = -DOUBLE_CLICK;
  // The strip of reference images, once there was one, and what is done with it, one after the other.
  #references = null;
  #attaching = Promise.resolve();
  // What could not be done, because the strip's code did not come.
  #waiting = [];

  /**
   * `on` has changed(), refused(error), allows(body, cost), whether the job is to be sent, and submit(body, known, made),
   * which may throw what the API says: `known` is what JobView shows before the job's document is there, and made(jobId)
   * is called once there is a job.
   */
  constructor(on) {
    this.on = on;
    this.box = h("textarea", {
      id: "prompt",
      placeholder: texts.promptHint,
      "aria-describedby": "prompt-count prompt-keys problem",
      oninput: () => this.#typed(),
      onkeydown: (event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
          event.preventDefault();
          if (!event.repeat) this.submit();
        }
      },
    });
    this.strip = h("div");
    const file = h("input", {
      type: "file",
      multiple: true,
      accept: "image/png,image/jpeg,image/webp",
      hidden: true,
      onchange: () => {
        this.attach([...file.files]);
        // The same file may be chosen again.
        file.value = "";
      },
    });
    this.add = button(texts.addImages, { kind: "compact", icon: "image", onclick: () => file.click() });
    this.counter = h("span.counter", { id: "prompt-count" });
    this.suggestion = h("div.suggestion", { hidden: true });
    this.enhance = button(texts.enhance, { icon: "spark", onclick: () => this.#enhance() });
    this.send = button(texts.generate, { kind: "primary", onclick: () => this.submit() });
    // For what budgets have left.
    this.budget = h("span", { hidden: true });
    this.summary = h("span.chosen");
    this.panel = h("div.panel", { id: "options", hidden: true });
    this.toggle = button(texts.options, {
      icon: "sliders",
      "aria-expanded": "false",
      "aria-controls": "options",
      onclick: () => this.#unfold(this.panel.hidden),
    });
    this.#options();
    this.element = h(
      "section.composer",
      { "aria-label": texts.prompt },
      h("label.unseen", { for: "prompt" }, texts.prompt),
      this.strip,
      this.box,
      h("p.unseen", { id: "prompt-keys" }, texts.shortcut),
      h("div.bar", this.add, file, this.toggle, this.summary, this.counter, this.enhance, this.budget, this.send),
      this.#problem.element,
      this.#unlisted.element,
      this.suggestion,
      this.panel,
    );
    this.box.value = stored(DRAFT);
    this.#typed();
  }

  /** Ask for the models; where they cannot be had, say so with a button to ask again. */
  async load() {
    try {
      this.#models = (await api.models()).models;
      this.#chosen = new Set(this.usual.map((model) => model.id));
      this.#list();
      this.#unlisted.clear();
    } catch (error) {
      fill(this.choice);
      this.#unlisted.show(`${texts.modelsUnknown} ${sentence(error)}`, this.#unlisted.again(() => this.load(), this.box));
    }
  }

  /** Whether the models are known. */
  get isReady() {
    return this.#models.length > 0;
  }

  /** The models that draw where none are named. */
  get usual() {
    return this.#models.filter((model) => model.default && model.configured);
  }

  /** The models that are chosen, in the registry's order; with reference images, those that support them. */
  get lineUp() {
    return this.#models.filter((model) => this.#chosen.has(model.id) && this.#isAble(model));
  }

  get ratio() {
    return this.aspectRatio.value || this.#references?.ratio || null;
  }

  /** Whether the prompt is about reference images. */
  get isEdit() {
    return this.#count > 0;
  }

  /** The number of reference images. */
  get #count() {
    return this.#references?.count ?? 0;
  }

  /** The price of an image with the reference images that a model accepts; its amount is null where that is unknown. */
  priceOf({ price, parameters }) {
    const used = Math.min(this.#count, parameters.images?.max ?? 0);
    if (!used) return price;
    const isKnown = price.amount !== null && price.reference !== undefined;
    return { amount: isKnown ? price.amount + used * price.reference : null };
  }

  #isAble(model) {
    return !this.#count || model.parameters.images !== undefined;
  }

  /** Run with the strip of reference images, after all that came before; without `work`, only what is waiting. */
  #withReferences(...work) {
    const done = this.#attaching.then(() => this.#run(work));
    this.#attaching = done.catch(() => {});
    return done;
  }

  async #run(work) {
    this.#waiting.push(...work);
    try {
      // Its code comes with the first image.
      const { References } = await loadModule("references.js");
      if (!this.#references) {
        this.#references = new References({
          changed: () => this.#referencesChanged(),
          failed: (error, again) => this.#problem.show(error, again ? this.#again(again) : null),
          recovered: () => this.#problem.clear(),
          focus: (element) => (element ?? this.add).focus(),
        });
        fill(this.strip, this.#references.element);
      }
    } catch {
      this.#problem.show(texts.unreachable, this.#again(() => this.#withReferences()));
      return;
    }
    this.#problem.clear();
    for (const each of this.#waiting.splice(0)) await each(this.#references);
  }

  /** A button that tries again; until then nothing is wrong. */
  #again(work) {
    return this.#problem.again(() => {
      this.#problem.clear();
      return work();
    }, this.box);
  }

  #referencesChanged() {
    set(this.box, "placeholder", this.#count ? texts.changeHint : texts.promptHint);
    this.strengthField.hidden = !this.#count;
    if (this.isReady) this.#changed();
  }

  /** Bring back the reference images that were in the form before the page was loaded again. */
  restore() {
    return stored(REFERENCES) && this.#withReferences((references) => references.restore());
  }

  /** Add files as reference images. */
  attach(files) {
    return this.#withReferences((references) => references.add(files));
  }

  /** Add an image of a job or gallery as a reference image; what is written next is what should change. */
  async edit(entry) {
    await this.#withReferences((references) => references.edit(entry) && announce(texts.editing(entry.name), true));
    this.box.focus();
    this.box.select();
  }

  /** Fill the form from a job and the entries of its reference images; returns the names of what the form cannot hold. */
  async reuse(job, references) {
    const lost = (job.references ?? []).length > references.length ? [texts.references] : [];
    const missing = [];
    if (references.length || this.#count) {
      await this.#withReferences(async (strip) => lost.push(...(await strip.reuse(references))));
    }
    const given = (name) => (job.parameters[name] === undefined ? "" : String(job.parameters[name]));
    this.#put(job.prompt);
    this.aspectRatio.value = given("aspectRatio");
    this.quality.value = given("quality");
    this.resolution.value = given("resolution");
    this.seed.value = given("seed");
    this.number.value = given("n") || "1";
    this.strength.value = given("strength");
    // Only a few values can be chosen.
    if (this.strength.value !== given("strength")) {
      this.strength.value = "";
      missing.push(texts.strength);
    }
    const names = new Set(job.results.map((row) => row.model));
    const found = this.#models.filter((model) => names.has(model.name) && model.configured);
    if (found.length) this.#chosen = new Set(found.map((model) => model.id));
    this.#list();
    // Without them it would be another job.
    if (lost.length) this.#problem.show(texts.referencesMissing(lost));
    this.box.focus();
    const gone = [...names].filter((name) => !found.some((model) => model.name === name));
    // The job shows the defaults of some parameters beside what its caller gave.
    const asked = new Set(job.results.flatMap((row) => ["applied", "adjusted", "ignored"].flatMap((part) => Object.keys(row[part] ?? {}))));
    return [...[...asked].filter((name) => !OPTIONS.includes(name)).map(texts.parameter), ...lost, ...missing, ...gone];
  }

  async submit() {
    // What was pasted a moment ago belongs to the prompt.
    await this.#attaching;
    if (this.#waiting.length) await this.#withReferences();
    if (this.#waiting.length) return;
    const wrong = this.#wrong();
    set(this.seed, "aria-invalid", wrong?.where === this.seed && "true");
    if (wrong) {
      this.#problem.show(wrong.text);
      if (wrong.where !== this.box) this.#unfold(true);
      wrong.where.focus();
      return;
    }
    if (performance.now() - this.#sentAt < DOUBLE_CLICK) return;
    this.#problem.clear();
    await busy(this.send, this.#count ? texts.uploading : texts.generating, async (label) => {
      try {
        const images = this.#references ? await this.#references.images() : [];
        if (!images) return;
        label(texts.generating);
        const body = this.#body();
        if (images.length) body.images = images;
        if (!(await this.on.allows(body, this.#cost))) {
          this.send.focus();
          return;
        }
        await this.on.submit(body, { rows: this.lineUp, ratio: this.ratio, references: this.#count }, (id) => this.#references?.sent(id));
        this.#sentAt = performance.now();
        this.#suggest();
        // The images must be visible.
        this.#unfold(false);
      } catch (error) {
        this.#problem.show(error, this.#fitting(error.models ?? []));
        this.on.refused(error);
      }
    });
  }

  /** A button that chooses the models of these names only. */
  #fitting(names) {
    const models = this.#models.filter((model) => names.includes(model.name));
    if (!models.length) return null;
    const onclick = () => {
      this.#choose(models);
      this.#problem.clear();
      this.send.focus();
    };
    return button(texts.chooseFitting(models.length), { onclick });
  }

  #wrong() {
    const used = length(this.box.value);
    if (!used) return { text: texts.promptMissing, where: this.box };
    if (used > PROMPT_LIMIT) return { text: texts.promptTooLong(PROMPT_LIMIT), where: this.box };
    const seed = this.seed.value.trim();
    if (seed && (!/^\d{1,10}$/.test(seed) || Number(seed) > MAX_SEED))
      return { text: texts.seedWrong(MAX_SEED), where: this.seed };
    if (this.#models.length && !this.lineUp.length)
      return { text: this.#chosen.size ? texts.editorsMissing : texts.modelsMissing, where: this.choice.querySelector("button") };
    return null;
  }

  #body() {
    const body = { prompt: this.box.value.trim(), ...this.#chosenOptions() };
    const usual = this.usual;
    const isUsual = usual.length === this.#chosen.size && usual.every((model) => this.#chosen.has(model.id));
    if (!isUsual) body.models = this.lineUp.map((model) => model.id);
    return body;
  }

  /** The options that are not left to the models. */
  #chosenOptions() {
    const found = {};
    for (const name of ["aspectRatio", "quality", "resolution"]) if (this[name].value) found[name] = this[name].value;
    if (this.seed.value.trim()) found.seed = Number(this.seed.value);
    if (this.#count && this.strength.value) found.strength = Number(this.strength.value);
    if (this.number.value !== "1") found.n = Number(this.number.value);
    return found;
  }

  #typed() {
    const used = length(this.box.value);
    const isOver = used > PROMPT_LIMIT;
    const wasOver = this.box.hasAttribute("aria-invalid");
    write(this.counter, texts.counter(used, PROMPT_LIMIT));
    set(this.box, "aria-invalid", isOver && "true");
    if (!isOver) this.#problem.clear();
    // It is read out once, not with each key.
    else if (!wasOver) this.#problem.show(texts.promptTooLong(PROMPT_LIMIT));
    store(DRAFT, this.box.value);
  }

  #put(text) {
    this.box.value = text;
    this.#typed();
  }

  /** Put an example into the box. */
  suggest(text) {
    this.#put(text);
    this.box.focus();
  }

  async #enhance() {
    const prompt = this.box.value.trim();
    const used = length(prompt);
    if (!used || used > ENHANCE_LIMIT) {
      this.#problem.show(used ? texts.enhanceTooLong(ENHANCE_LIMIT) : texts.promptMissing);
      this.box.focus();
      return;
    }
    this.#problem.clear();
    announce(texts.enhancing);
    await busy(this.enhance, texts.enhancing, async () => {
      try {
        const enhanced = await api.enhance(prompt);
        if (enhanced.warning) this.#problem.show(enhanced.warning);
        else this.#offerSuggestion(enhanced);
      } catch (error) {
        this.#problem.show(error);
        this.on.refused(error);
      }
    });
  }

  /** The suggestion is shown before it is used. */
  #offerSuggestion({ enhanced, short_prompt: short }) {
    const other = short !== enhanced && short;
    const close = () => {
      this.#suggest();
      this.box.focus();
    };
    const use = (text) => {
      const before = this.box.value;
      this.#put(text);
      const undo = button(texts.undo, {
        icon: "again",
        onclick: () => {
          this.#put(before);
          close();
          announce(texts.undone);
        },
      });
      this.#suggest(h("div.row", h("p.soft", texts.enhanceUsed), undo));
      announce(texts.enhanceUsed);
      undo.focus();
    };
    const first = button(texts.enhanceUse, { kind: "primary", onclick: () => use(enhanced) });
    this.#suggest(
      h("h2", texts.enhanceTitle),
      h("p.long", enhanced),
      other && h("p.short", h("b", `${texts.enhanceShort}: `), short),
      h(
        "div.row",
        first,
        other && button(texts.enhanceUseShort, { onclick: () => use(short) }),
        button(texts.enhanceKeep, { onclick: close }),
      ),
    );
    announce(texts.enhanceReady);
    // The focus stays with a user who is still typing.
    if (document.activeElement === this.enhance) first.focus();
  }

  /** The content below the prompt; without an argument, none. */
  #suggest(...content) {
    fill(this.suggestion, content);
    this.suggestion.hidden = !content.length;
  }

  #unfold(open) {
    this.panel.hidden = !open;
    set(this.toggle, "aria-expanded", String(open));
  }

  #options() {
    const fields = h("div.fields");
    const field = (label, control) => {
      fields.append(h("label", label, control));
      control.addEventListener("input", () => this.#changed());
      return control;
    };
    const choice = (label, values, name = (value) => value) =>
      field(label, h("select", values.map((value) => h("option", { value }, value ? name(value) : texts.ownChoice))));
    this.aspectRatio = choice(texts.aspectRatio, ["", ...ASPECT_RATIOS]);
    this.number = choice(texts.perModel, ["1", "2", "3", "4"]);
    this.quality = choice(texts.quality, ["", "low", "medium", "high", "xhigh", "max"], (value) => texts.qualities[value]);
    this.resolution = choice(texts.resolution, ["", "512", "1K", "2K", "4K"]);
    this.strength = choice(texts.strength, ["", "0.2", "0.4", "0.6", "0.8"], (value) => texts.percent(value));
    this.strengthField = this.strength.parentElement;
    this.strengthField.hidden = true;
    const seed = { type: "text", inputmode: "numeric", autocomplete: "off", placeholder: texts.seedHint, maxlength: 10 };
    this.seed = field(texts.seed, h("input", seed));
    this.choice = h("div.models", h("p.soft", texts.loading));
    fill(this.panel, fields, this.choice);
  }

  #choose(models) {
    this.#chosen = new Set(models.map((model) => model.id));
    this.#boxes.forEach(({ box }, id) => (box.checked = this.#chosen.has(id)));
    this.#changed();
  }

  #list() {
    this.#boxes = new Map();
    const group = (models) => h("div.choices", models.map((model) => this.#card(model)));
    const others = this.#models.filter((model) => !model.default);
    const quick = (label, models) => button(label, { kind: "small", onclick: () => this.#choose(models) });
    fill(
      this.choice,
      h(
        "fieldset",
        h("legend", texts.models),
        h(
          "div.row.quick",
          quick(texts.usual, this.usual),
          quick(texts.all, this.#models.filter((model) => model.configured)),
          quick(texts.none, []),
        ),
        group(this.#models.filter((model) => model.default)),
        others.length > 0 && h("h3", texts.otherModels),
        group(others),
      ),
    );
    this.#changed();
  }

  #boxes = new Map();

  #card(model) {
    const box = h("input", {
      type: "checkbox",
      disabled: !model.configured,
      onchange: () => {
        if (box.checked) this.#chosen.add(model.id);
        else this.#chosen.delete(model.id);
        this.#changed();
      },
    });
    box.checked = this.#chosen.has(model.id);
    const unsupported = h("span.note");
    this.#boxes.set(model.id, { box, unsupported });
    const most = model.parameters.n?.max ?? MAX_IMAGES;
    const facts = [
      texts.providers[model.provider] ?? model.provider,
      pricePer(model.price),
      most < MAX_IMAGES && texts.atMostImages(most),
      texts.timeLimit(model.timeLimit),
    ];
    return h(
      "label.choice",
      box,
      h(
        "span.label",
        h("span.name", model.name),
        h("span.note", facts.filter(Boolean).join(" · ")),
        unsupported,
        !model.configured && h("span.warning", icon("alert"), texts.noKey),
        model.warning && h("span.warning", icon("alert"), model.warning),
      ),
    );
  }

  #changed() {
    const models = this.lineUp;
    const options = Object.entries(this.#chosenOptions());
    for (const model of this.#models) {
      const found = options.filter(([name, value]) => !supports(model.parameters[name], value)).map(([name]) => texts.parameter(name));
      const most = model.parameters.images?.max;
      const notes = this.#isAble(model)
        ? [found.length > 0 && texts.unsupported(found), this.#count > most && texts.usesFirst(most, this.#count)]
        : [texts.leftOut];
      write(this.#boxes.get(model.id).unsupported, notes.filter(Boolean).join(" · "));
    }
    const own = this.#arePricesKnown && models.length ? this.#estimate(models) : "";
    write(this.summary, [texts.chosen(models.length), own].filter(Boolean).join(" · "));
    this.on.changed();
  }

  /** Whether the list of prices says what a job costs; prices by size and quality are the API's business. */
  get #arePricesKnown() {
    return !this.quality.value && !this.resolution.value;
  }

  /** What the job will cost; null where only the API knows it. */
  get #cost() {
    const { amount, unknown } = this.#sum(this.lineUp);
    return this.#arePricesKnown && this.isReady && !unknown ? amount : null;
  }

  /** The sum of the known prices, and how many are not. */
  #sum(models) {
    const prices = models.map((model) => [model, this.priceOf(model).amount]);
    const known = prices.filter(([, amount]) => amount !== null);
    const amount = known.reduce((sum, [model, each]) => {
      return sum + each * Math.min(Number(this.number.value), model.parameters.n?.max ?? MAX_IMAGES);
    }, 0);
    return { amount, unknown: models.length - known.length };
  }

  #estimate(models) {
    const { amount, unknown } = this.#sum(models);
    if (unknown === models.length) return texts.priceUnknown;
    return texts.estimate(dollars({ amount: amount < 0.01 ? amount : Math.round(amount * 100) / 100 }), unknown);
  }
}

/** Whether a model supports an option's value; `known` is what the list of models says about it. */
function supports(known, value) {
  if (Array.isArray(known)) return known.includes(value);
  return known !== undefined && !(value < known.min) && !(value > known.max);
}

export const pricePer = (price) => {
  const amount = dollars(price);
  return amount ? texts.price(amount) : texts.priceUnknown;
};

