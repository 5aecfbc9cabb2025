// Has Node run on a later day: DAYS_LATER=40 NODE_OPTIONS="--require …/tests/later/date.cjs" node …
const now = Date.now;
const later = 86400000 * Number(process.env.DAYS_LATER ?? 0);

Date.now = () => now() + later;
globalThis.Date = new Proxy(Date, {
  construct: (date, parts, subclass) => Reflect.construct(date, parts.length ? parts : [date.now()], subclass),
  apply: (date) => new date(date.now()).toString(),
});
