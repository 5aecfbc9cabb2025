// Numbers, moments and names as the page shows them.

import { texts } from "./texts.js";

const money = (digits) =>
  new Intl.NumberFormat("en-US", { style: "currency", currency: "USD", minimumFractionDigits: 2, maximumFractionDigits: digits });
const small = money(4);
const usual = money(3);
const moment = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

/** Dollars; null where they are unknown. */
export function dollars(cost) {
  if (!cost || cost.amount === null || cost.amount === undefined) return null;
  return (cost.amount < 0.01 ? small : usual).format(cost.amount);
}

/** A total cost of a job: what is known, and how many are not. Unknown is never 0. */
export function totalCost(cost) {
  return cost ? texts.cost(dollars(cost), cost.unknown) : texts.costNone;
}

/** Seconds: "7 s", "1 min 12 s"; with one digit where `exact`. */
export function time(value, exact = false) {
  const whole = Math.floor(Math.max(0, value));
  if (whole < 60) return exact ? `${Math.max(0, value).toFixed(1)} s` : `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A moment in the reader's own time zone. */
export const date = (value) => moment.format(new Date(value));

/** When a gallery was made, from its id, which begins with the time in UTC; null where it does not. */
export function galleryDate(id) {
  const found = /^(\d{4}-\d\d-\d\d)-(\d\d)-(\d\d)-(\d\d)/.exec(id);
  if (!found) return null;
  const when = new Date(`${found[1]}T${found[2]}:${found[3]}:${found[4]}Z`);
  return Number.isNaN(when.getTime()) ? null : moment.format(when);
}

/** Characters as the API counts them: code points, without the white space around. */
export const length = (text) => [...text.trim()].length;

/** A file's name for an image: number, model, and the ending of its URL. */
export function fileName(number, name, url) {
  const ending = /\.(png|jpg|webp|gif)$/.exec(new URL(url, location.href).pathname)?.[0] ?? ".png";
  const plain = name.replace(/[^A-Za-z0-9.]+/g, "-").replace(/^[-.]+|[-.]+$/g, "") || "image";
  return `${String(number).padStart(2, "0")}-${plain}${ending}`;
}
