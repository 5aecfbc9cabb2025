// The HTTP API: requests, responses, and errors.

import { time } from "./format.js";
import { texts } from "./texts.js";

const PATIENCE = 35_000;

export const config = { apiUrl: "", statusWait: 0, gallery: false, auth: "none", usage: false };

/** The caller's API key, if the API asks for one, and what is done where it was accepted, or may not have been. */
export const access = { key: "", accepted: () => {}, refused: () => {} };

/** A response that reports an error. */
export class ApiError extends Error {
  constructor(status, body, headers) {
    super(body.message ?? "");
    this.status = status;
    this.code = body.error ?? "";
    this.scope = body.scope ?? "";
    this.correlationId = headers.get("X-Correlation-ID");
    // Of the request's models, those that fit into a budget.
    this.models = body.models ?? [];
    this.retryAfter = Number(headers.get("Retry-After")) || body.retryAfter || 0;
    // Whether the same request may succeed later.
    this.isPassing = status >= 500 || [408, 425, 429].includes(status);
  }
}

/** No response that can be read, as of the network, a browser's own rules, and API Gateway, which refuses keys without CORS. */
export class Unreachable extends Error {}

/** Read config.json; what is wrong with it, or "". */
export async function configure() {
  const response = await fetch("config.json", { cache: "no-cache", signal: AbortSignal.timeout(15_000) }).catch(() => null);
  if (!response || response.status >= 500) return texts.unreachable;
  try {
    const found = await response.json();
    config.apiUrl = String(found.apiUrl ?? "").replace(/\/+$/, "");
    config.statusWait = Number(found.statusWait) || 0;
    config.gallery = found.gallery === true;
    config.auth = found.auth === "keys" ? "keys" : "none";
    config.usage = found.usage === true;
  } catch {
    return texts.noConfig;
  }
  return config.apiUrl ? "" : texts.noConfig;
}

/** With `quiet`, a missing response says nothing about the key. */
async function request(method, path, { quiet = false, ...options } = {}) {
  const { key } = access;
  try {
    const response = await exchange(method, path, options);
    if (key) access.accepted();
    return response;
  } catch (error) {
    if (key && mayRefuseKey(error, quiet)) access.refused();
    throw error;
  }
}

const mayRefuseKey = (error, quiet = false) =>
  error instanceof ApiError ? [401, 403].includes(error.status) && !error.code : error instanceof Unreachable && !quiet;

async function exchange(method, path, { body, headers = {}, signal, patience = PATIENCE }) {
  const limit = AbortSignal.timeout(patience);
  let response;
  let text;
  try {
    response = await fetch(config.apiUrl + path, {
      method,
      headers: {
        ...(body !== undefined && { "Content-Type": "application/json" }),
        ...(access.key && { Authorization: `Bearer ${access.key}` }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
      cache: "no-store",
      credentials: "omit",
      referrerPolicy: "no-referrer",
      // A key goes nowhere else.
      redirect: "error",
    });
    text = await response.text();
  } catch {
    if (signal?.aborted) throw signal.reason;
    throw new Unreachable(unreachable());
  }
  let content = {};
  try {
    if (text) content = JSON.parse(text);
  } catch {
    if (response.ok) throw new Unreachable(unreachable());
  }
  if (!response.ok && response.status !== 304) throw new ApiError(response.status, content, response.headers);
  return { status: response.status, body: content, headers: response.headers };
}

const unreachable = () => (access.key ? texts.keyRefused : texts.unreachable);

const part = encodeURIComponent;
const only = async (response) => (await response).body;

export const api = {
  models: () => only(request("GET", "/models")),
  generate: (body, key) => only(request("POST", "/generate", { body, headers: { "Idempotency-Key": key } })),
  estimate: (body) => only(request("POST", "/generate", { body: { ...body, dryRun: true } })),
  usage: () => only(request("GET", "/usage", { quiet: true })),
  enhance: (prompt) => only(request("POST", "/enhance", { body: { prompt } })),
  cancel: (id) => only(request("POST", `/cancel/${part(id)}`)),
  retry: (id, models) => only(request("POST", `/retry/${part(id)}`, { body: { models } })),
  upload: (contentType, signal) => only(request("POST", "/uploads", { body: { contentType }, signal })),
  galleries: (limit, cursor) =>
    only(request("GET", `/gallery/list?limit=${limit}${cursor ? `&cursor=${part(cursor)}` : ""}`)),
  gallery: (id) => only(request("GET", `/gallery/${part(id)}`)),

  /**
   * The job document, its ETag and `ahead`, the milliseconds by which this computer's clock is ahead of the service's;
   * `document` is null where it is still the version `etag`.
   * With `wait`, the API responds only when the version changes or the seconds are over. A header would cost such a
   * request a preflight each time, because its URL changes with the version. No response says nothing about the key: a job
   * is followed through every gap of the network.
   */
  async status(id, { etag = "", wait = 0, signal } = {}) {
    const waits = wait > 0 && etag;
    const query = waits ? `?wait=${wait}&since=${part(etag)}` : "";
    const headers = etag && !waits ? { "If-None-Match": etag } : {};
    const patience = waits ? (wait + 10) * 1000 : 15_000;
    const response = await request("GET", `/status/${part(id)}${query}`, { headers, signal, patience, quiet: true });
    return {
      document: response.status === 304 ? null : response.body,
      etag: response.headers.get("ETag") ?? "",
      ahead: Date.now() - Date.parse(response.headers.get("Date")),
    };
  },
};

/** A key for one submission, however often it is sent. */
export function newKey() {
  // randomUUID is only there on https and on loopback.
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What went wrong, in a sentence or two for a person; without the seconds to wait, which count down. */
export function sentence(error) {
  if (!(error instanceof ApiError)) return (error instanceof Unreachable && error.message) || texts.unreachable;
  if (access.key && mayRefuseKey(error)) return texts.keyRefused;
  if (error.code === "INAPPROPRIATE_CONTENT") return texts.refusedPrompt(error.message);
  if (error.code === "RATE_LIMIT_EXCEEDED" || error.status === 429)
    return texts.problems[error.scope] ?? texts.problems[429];
  if (error.status === 503) return (error.code && error.message) || texts.problems[503];
  if (error.status >= 500)
    return [texts.problems[500], error.correlationId && texts.reference(error.correlationId)].filter(Boolean).join(" ");
  return error.message || texts.problems[500];
}

/** The sentence about when to try again; "" where the API does not say. */
export function advice(error, left = error.retryAfter) {
  // The API's own sentence about a busy service ends with it.
  if (!error.retryAfter || error.status === 503) return "";
  return left > 0 ? texts.tryAgainIn(time(left)) : texts.tryAgainNow;
}
