// A job: its progress, its grid of tiles, and what can be done with it.

import { announce } from "./announce.js";
import { access, api, ApiError, config } from "./api.js";
import { busy, button, fill, h, iconButton, set, write } from "./dom.js";
import { archiveButton, saveArchive, saveImage } from "./download.js";
import { date, dollars, fileName, time, totalCost } from "./format.js";
import { loadModule } from "./lazy.js";
import { Problem } from "./problem.js";
import { texts } from "./texts.js";
import { mayRunAgain, reserve, shapeOf, stateOf, Tile } from "./tile.js";
import { copy, press, showComparison, showImage } from "./viewer.js";
import { FINAL, watch } from "./watch.js";

const LINE_UP = 9;

const hasFailed = (row) => row.status === "error" || row.status === "cancelled";
/** What changes when a job is cancelled or runs again. */
const standing = (job) => `${job.run} ${FINAL.includes(job.status) && job.updatedAt}`;
/** What changes in how reference images are shown. */
const outlook = (references) => references.map(({ imageUrl, width, error }) => `${Boolean(imageUrl)} ${width} ${error}`).join();
const ended = (rows) => rows.filter((row) => row.status === "completed" || hasFailed(row)).length;

export class JobView {
  #document = null;
  #tiles = [];
  #picked = [];
  // Entries of the job's reference images.
  #references = [];
  #outlook = "";
  #problem = new Problem();
  #stop = () => {};
  #timer = 0;
  #isGone = false;
  // Whether the last attempt got no response.
  #isUnsure = false;
  // How far this computer's clock is ahead of the service's, in milliseconds.
  #ahead = null;

  /**
   * `page` has banner(text or ""), edit(entry), reuse(document, references), ended() and refused(error). `known` is what is
   * known of a job that was just submitted: `rows` (its models), `ratio`, and `references`, how many reference images it has.
   */
  constructor(id, page, { rows = [], ratio = null, references = 0 } = {}) {
    this.id = id;
    this.page = page;
    this.heading = h("h1.prompt", { tabindex: "-1" }, texts.jobStarting);
    this.facts = h("p.summary");
    this.madeFrom = h("div.made-from", { hidden: !references });
    this.track = h("div.track", { role: "progressbar", "aria-label": texts.progress, "aria-valuemin": 0 });
    this.grid = h("ul.grid");
    this.#buttons();
    this.element = h(
      "section.job",
      h("div.job-head", h("div.job-title", this.heading, this.facts, this.madeFrom), this.actions),
      this.track,
      this.#problem.element,
      h("h2.unseen", texts.images),
      this.grid,
    );
    const lineUp = rows.length ? rows : Array(LINE_UP).fill({ name: "\u00a0" });
    this.ratio = ratio;
    this.isNew = rows.length > 0;
    this.#build(lineUp.map(({ name }) => ({ model: name, status: "pending" })), ratio);
    write(this.facts, texts.loading);
    this.#watch();
    this.#timer = setInterval(() => this.#tick(), 500);
  }

  destroy() {
    this.#isGone = true;
    this.#stop();
    clearInterval(this.#timer);
    this.#problem.clear();
    this.page.banner("");
  }

  get title() {
    const job = this.#document;
    if (!job) return texts.untitled;
    return `${ended(job.results)}/${job.totalModels} · ${[...job.prompt].slice(0, 60).join("")}`;
  }

  get #isFinal() {
    return FINAL.includes(this.#document?.status);
  }

  #buttons() {
    this.cancel = button(texts.cancel, { icon: "stop", onclick: () => busy(this.cancel, texts.cancelling, () => this.#cancel()) });
    this.retry = button(texts.retry, {
      icon: "again",
      onclick: () => busy(this.retry, "", () => this.#runAgain(this.#document.results.filter(mayRunAgain))),
    });
    this.compare = button(texts.compare, { icon: "compare", onclick: () => this.#compare() });
    this.save = archiveButton(`pixel-prompt-${this.id.slice(0, 8)}.zip`, this.#problem, () => this.#all(), () => {
      // The record of the job, without URLs that expire.
      const plain = JSON.stringify(this.#document, (name, value) => (name === "imageUrl" ? undefined : value), 2);
      return [{ name: "job.json", bytes: new TextEncoder().encode(`${plain}\n`) }];
    });
    this.copyPrompt = iconButton(texts.copyPrompt, "copy", {
      onclick: async () => announce(await copy(this.#document.prompt), true),
    });
    this.reuse = iconButton(texts.reuse, "reuse", { onclick: () => this.page.reuse(this.#document, this.#references) });
    this.actions = h("div.actions", this.cancel, this.retry, this.compare, this.save, this.copyPrompt, this.reuse);
    for (const each of this.actions.children) each.hidden = true;
  }

  /** Do something with the job; where that fails, say so, with a button to try again where that may help. */
  async #attempt(work) {
    const before = standing(this.#document);
    this.#problem.clear();
    this.#isUnsure = false;
    try {
      await work();
    } catch (error) {
      this.page.refused(error);
      if (this.#isGone) return;
      this.#isUnsure = !(error instanceof ApiError);
      if (!this.#isUnsure || standing(this.#document) === before) {
        this.#problem.show(error, error.isPassing === false ? null : this.#problem.again(() => this.#attempt(work), this.heading));
      }
      // It may have been done without a response, or by another user.
      if (error.isPassing !== false || error.status === 409 || error.code === "NOTHING_TO_RETRY") this.#watch();
    }
  }

  #cancel() {
    return this.#attempt(async () => {
      const job = await api.cancel(this.id);
      this.#show(job);
      if (job.status === "cancelled") announce(texts.cancelled);
    });
  }

  #runAgain(rows) {
    return this.#attempt(async () => {
      const run = await api.retry(this.id, rows.map((row) => row.model));
      announce(texts.retried(run.totalModels));
      this.#watch();
    });
  }

  #watch() {
    // The response to a retry may come when another view is shown.
    if (this.#isGone) return;
    this.#stop();
    this.page.banner("");
    this.#stop = watch(this.id, {
      changed: (document) => this.#show(document),
      // The service's clock is known to the second, and a response takes time: the least is the best.
      ahead: (milliseconds) => (this.#ahead = Math.min(this.#ahead ?? milliseconds, milliseconds)),
      lost: (seconds, error) => this.#lost(seconds, error),
      back: () => {
        this.page.banner("");
        announce(texts.back_online);
      },
      failed: (error) => this.#failed(error),
    });
  }

  #lost(seconds, error) {
    const left = time(seconds);
    if (error instanceof ApiError) this.page.banner(texts.busy(left));
    else this.page.banner(navigator.onLine ? texts.lost(left, access.key) : texts.offline);
  }

  #failed(error) {
    this.page.banner("");
    if (this.#document) {
      const again = () => {
        this.#problem.clear();
        this.#watch();
      };
      this.#problem.show(error, this.#problem.again(again, this.heading));
      return;
    }
    write(this.heading, texts.untitled);
    write(this.facts, "");
    fill(this.grid);
    this.track.hidden = true;
    this.#problem.show(error, h("a.button", { href: "#/" }, texts.create));
  }

  #show(job) {
    const before = this.#document;
    // A cancellation's response may be older than what the watch has seen, or come when another view is shown.
    if (this.#isGone) return;
    if (before && (job.run < before.run || (job.run === before.run && job.updatedAt < before.updatedAt))) return;
    this.#document = job;
    // The message of an attempt is out of date.
    if (before && (job.run > before.run || (this.#isUnsure && standing(job) !== standing(before)))) this.#problem.clear();
    write(this.heading, job.prompt);
    set(this.heading, "title", date(job.createdAt));
    if (!before) this.#build(job.results, job.parameters.aspectRatio ?? this.ratio ?? shapeOf(job.references?.[0] ?? {}));
    this.#madeFrom(job);
    const again = job.results.filter(mayRunAgain);
    const focused = document.activeElement;
    job.results.forEach((row, index) =>
      this.#tiles[index].update(row, this.#entries(row), { final: this.#isFinal }),
    );
    this.#progress(job.results);
    const made = this.#all().length;
    this.cancel.hidden = this.#isFinal;
    this.retry.hidden = !this.#isFinal || !again.length;
    write(this.retry.querySelector("span"), texts.retryAll(again.length));
    set(this.retry, "title", texts.retryLong(again.map((row) => row.model)));
    this.#offerComparison();
    this.save.hidden = made < 1;
    this.copyPrompt.hidden = this.reuse.hidden = false;
    // If the pressed button is gone now, the focus moves to the heading.
    if (focused.hidden || !focused.isConnected) this.heading.focus();
    set(this.element, "aria-busy", String(!this.#isFinal));
    set(this.element, "data-status", job.status);
    this.#tick();
    this.#tell(before, job);
    if (this.#isFinal && (before ? !FINAL.includes(before.status) : this.isNew)) this.page.ended();
    this.page.titled();
  }

  #build(rows, ratio) {
    reserve(this.grid, ratio);
    this.#tiles = rows.map((row) => {
      const tile = new Tile(row.model, "", {
        open: (entry) => this.#open(entry),
        pick: (picked) => this.#pick(picked),
        save: (saved) => this.#saveTile(saved),
        edit: (entry) => this.page.edit(entry),
        retry: (element, failed) => busy(element, "", () => this.#runAgain(failed)),
        details: (failed) => showImage([this.#failure(failed.row)], 0),
      });
      tile.update(row, []);
      return tile;
    });
    fill(this.grid, this.#tiles.map((tile) => tile.element));
    this.#progress(rows);
  }

  #progress(rows) {
    const done = ended(rows);
    fill(this.track, rows.map((row) => h("span", { "data-state": stateOf(row) })));
    set(this.track, "aria-valuemax", rows.length);
    set(this.track, "aria-valuenow", done);
    set(this.track, "aria-valuetext", texts.finished(done, rows.length));
  }

  /** Say what has changed, all of one response at once. */
  #tell(before, job) {
    if (!before) return;
    const said = job.results
      .filter((row, index) => stateOf(row) !== stateOf(before.results[index]) && texts.announce[stateOf(row)])
      .map((row) => texts.announce[stateOf(row)](row.model));
    if (said.length) said.push(this.#isFinal ? texts.ended[job.status] : texts.finished(ended(job.results), job.totalModels));
    if (said.length) announce(said.join(" "));
  }

  #tick() {
    const job = this.#document;
    if (!job) return;
    const now = Date.now() - (this.#ahead ?? 0);
    for (const tile of this.#tiles) tile.tick(now);
    const counts = {};
    for (const row of job.results) counts[stateOf(row)] = (counts[stateOf(row)] ?? 0) + 1;
    const ends = job.results.map((row) => Date.parse(row.completedAt ?? "")).filter((moment) => !Number.isNaN(moment));
    const end = this.#isFinal ? Math.max(...ends, Date.parse(job.runStartedAt ?? job.createdAt)) : now;
    const cost = totalCost(job.cost);
    const parts = [
      texts.finished(ended(job.results), job.totalModels),
      ...["refused", "error", "cancelled"].filter((state) => counts[state]).map((state) => `${counts[state]} ${texts.outcomes[state]}`),
      time((end - Date.parse(job.runStartedAt ?? job.createdAt)) / 1000),
      this.#isFinal || !job.cost ? cost : texts.costSoFar(cost),
      job.run > 1 && texts.run(job.run),
    ];
    write(this.facts, parts.filter(Boolean).join("  ·  "));
  }

  #entries(row) {
    const images = row.images ?? [];
    return images.map((image, number) => {
      const name = images.length > 1 ? texts.numbered(row.model, number + 1) : row.model;
      return {
        id: image.binaryKey,
        imageKey: image.imageKey,
        name,
        url: image.imageUrl,
        prompt: this.#document.prompt,
        fileName: fileName(row.index + 1, name, image.imageUrl),
        facts: this.#facts(row, image),
        refresh: () => this.#fresh(image.binaryKey),
      };
    });
  }

  #failure(row) {
    const sentence = row.status === "cancelled" ? texts.cancelledLong : row.error;
    return {
      name: row.model,
      url: null,
      icon: stateOf(row) === "refused" ? "refused" : "alert",
      sentence,
      prompt: this.#document.prompt,
      facts: this.#facts(row),
    };
  }

  #facts(row, image = {}) {
    const named = texts.parameter;
    const label = texts.record;
    const amount = dollars(row.cost);
    const isLost = hasFailed(row);
    return [
      [label.provider, texts.providers[row.provider] ?? row.provider],
      [label.prompt, this.#document.prompt],
      [label.state, isLost && (texts.errors[row.errorCode ?? row.status] ?? texts.states.error)],
      [label.reason, row.error],
      [label.seed, image.binaryKey ? String(image.seed ?? texts.unknown) : ""],
      [label.size, image.width ? texts.size(image.width, image.height) : ""],
      [label.time, row.duration === undefined ? "" : time(row.duration, true)],
      [label.cost, row.cost ? (amount ? `${amount}, ${texts.basis[row.cost.basis]}` : texts.unknown) : ""],
      [label.billable, isLost ? texts.charged[row.billable] : ""],
      [label.applied, Object.entries(row.applied ?? {}).map(([name, value]) => texts.application(named(name), value))],
      [
        label.adjusted,
        Object.entries(row.adjusted ?? {}).map(([name, { requested, used }]) => texts.adjustment(named(name), requested, used)),
      ],
      [label.ignored, Object.entries(row.ignored ?? {}).map(([name, why]) => texts.application(named(name), why))],
      [label.missing, row.missing && texts.application(texts.missing(row.missing.images), row.missing.error ?? texts.unknown)],
      [label.warning, row.warning],
    ];
  }

  /** The image's present URL: signed URLs expire. */
  async #fresh(key) {
    const { document } = await api.status(this.id);
    const images = document.results.flatMap((row) => row.images ?? []);
    return images.find((image) => image.binaryKey === key)?.imageUrl ?? null;
  }

  #all() {
    return this.#tiles.flatMap((tile) => tile.entries);
  }

  /** The reference images that can be shown, for a comparison with what became of them. */
  get #before() {
    return this.#references.filter((entry) => entry.url);
  }

  /** Show what the job was made from, again when more is known of it. */
  async #madeFrom(job) {
    const references = job.references ?? [];
    const now = outlook(references);
    if (now === this.#outlook) return;
    this.#outlook = now;
    this.madeFrom.hidden = false;
    const module = await loadModule("references.js").catch(() => null);
    // Without it the next change tries again.
    if (!module) this.#outlook = "";
    if (!module || this.#isGone) return;
    const refresh = async (index) => (await api.status(this.id)).document.references[index].imageUrl;
    const entries = await module.entriesOf(references, this.id, refresh);
    if (now !== this.#outlook) return;
    this.#references = entries;
    const gallery = config.gallery && references.find((each) => each.fromGallery)?.fromGallery;
    module.showReferences(this.madeFrom, entries, (entry) => this.#view(this.#before, entry), gallery);
    this.#offerComparison();
  }

  #offerComparison() {
    const made = this.#all().length;
    this.compare.hidden = !made || made + this.#before.length < 2;
  }

  #open(entry) {
    this.#view(this.#all(), entry);
  }

  #view(entries, entry) {
    showImage(entries, entries.findIndex((each) => each.id === entry.id), (chosen) => this.page.edit(chosen));
  }

  #pick(tile) {
    if (this.#picked.includes(tile)) {
      this.#picked = this.#picked.filter((each) => each !== tile);
      press(tile.pick, false);
      announce(texts.unpicked(tile.name));
      return;
    }
    this.#picked.push(tile);
    press(tile.pick, true);
    if (this.#picked.length === 2) this.#compare();
    else announce(texts.picked(tile.name), true);
  }

  #compare() {
    const before = this.#before;
    const all = [...before, ...this.#all()];
    const chosen = this.#picked.map((tile) => all.indexOf(tile.entries[0]));
    // Without a choice: before and after, or the first two.
    const left = chosen[0] ?? 0;
    const right = chosen[1] ?? (left === 0 ? before.length || 1 : 0);
    showComparison(all, left, right).addEventListener("close", () => {
      for (const tile of this.#picked) press(tile.pick, false);
      this.#picked = [];
    });
  }

  async #saveTile(tile) {
    const [only, ...others] = tile.entries;
    const name = `${only.fileName.replace(/\.\w+$/, "")}.zip`;
    const saved = others.length ? await saveArchive(tile.entries, name) : Number(await saveImage(only));
    if (saved === tile.entries.length) this.#problem.clear();
    else this.#problem.show(texts.downloadFailed(saved && tile.entries.length - saved));
  }
}
