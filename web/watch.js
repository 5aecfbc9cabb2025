// Follows a job until it ends: waits at the API where that is allowed, else asks at growing intervals.

import { api, ApiError, config } from "./api.js";

export const FINAL = ["completed", "partial", "failed", "cancelled"];

const FIRST_PAUSE = 500;
const MAX_PAUSE = 5000;
const GROWTH = 1.4;
// Between two requests that waited: changes that come together are shown together.
const SHORT_PAUSE = 150;
// A response that came sooner was not a wait.
const WAITED = 800;
// After so many broken waits in a row it polls: something on the way seems to end requests that take long.
const BROKEN_WAITS = 2;
const MAX_BACKOFF = 15;

/**
 * Watch a job, once it has ended only when the page is shown again. `on` has `changed(document)`, `ahead(milliseconds)`
 * with how far this computer's clock is ahead, `lost(seconds, error)`, `back()` and `failed(error)` for what no repetition
 * mends. Returns a function that ends it.
 */
export function watch(id, on) {
  const ended = new AbortController();
  follow(id, on, ended.signal);
  return () => ended.abort();
}

async function follow(id, on, ended) {
  let etag = "";
  let pause = FIRST_PAUSE;
  let failures = 0;
  let broken = 0;
  let isFinal = false;
  while (!ended.aborted) {
    await visible(ended);
    const asked = performance.now();
    const wait = broken < BROKEN_WAITS ? config.statusWait : 0;
    const waits = wait > 0 && etag !== "" && failures === 0 && !isFinal;
    const hidden = untilHidden(ended);
    let response;
    try {
      response = await api.status(id, { etag, wait: waits ? wait : 0, signal: hidden.signal });
    } catch (error) {
      if (hidden.signal.aborted) continue;
      if (error instanceof ApiError && !error.isPassing) {
        on.failed(error);
        return;
      }
      if (waits && !error.retryAfter && !(error.status < 500)) {
        broken += 1;
        continue;
      }
      failures += 1;
      const seconds = error.retryAfter || Math.min(MAX_BACKOFF, 2 ** (failures - 1));
      on.lost(seconds, error);
      await sleep(seconds * 1000, ended, window, "online");
      continue;
    } finally {
      hidden.release();
    }
    if (ended.aborted) return;
    if (failures) {
      // It was not the waiting that failed.
      failures = broken = 0;
      on.back();
    }
    if (waits) broken = 0;
    if (response.ahead) on.ahead(response.ahead);
    const changed = response.document !== null && response.etag !== etag;
    if (changed) {
      etag = response.etag;
      pause = FIRST_PAUSE;
      on.changed(response.document);
      isFinal = FINAL.includes(response.document.status);
    }
    if (isFinal) {
      // Another tab may run it again.
      await sleep(0, ended, document, "visibilitychange");
    } else if (waits && (changed || performance.now() - asked > WAITED)) {
      await sleep(SHORT_PAUSE, ended);
    } else if (!(wait > 0 && changed)) {
      await sleep(pause, ended);
      pause = Math.min(MAX_PAUSE, pause * GROWTH);
    }
  }
}

/** Resolves when the page can be seen. */
async function visible(ended) {
  while (document.hidden && !ended.aborted) await sleep(0, ended, document, "visibilitychange");
}

/** A signal that aborts when the page is hidden or the watch has ended; `release` lets go of it. */
function untilHidden(ended) {
  const controller = new AbortController();
  const look = () => document.hidden && controller.abort();
  document.addEventListener("visibilitychange", look);
  return {
    signal: AbortSignal.any([controller.signal, ended]),
    release: () => document.removeEventListener("visibilitychange", look),
  };
}

/** Resolves after milliseconds (0: never), when `event` is dispatched at `target`, or at the end. */
function sleep(milliseconds, ended, target = null, event = "") {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      target?.removeEventListener(event, done);
      ended.removeEventListener("abort", done);
      resolve();
    };
    const timer = milliseconds && setTimeout(done, milliseconds);
    target?.addEventListener(event, done);
    ended.addEventListener("abort", done);
  });
}
