// Elements without markup: text is always a text node, so nothing that a caller or a provider wrote is ever parsed.

const SVG = "http://www.w3.org/2000/svg";

// Paths on a 24 by 24 grid, drawn as strokes.
const ICONS = {
  again: "M20 11a8 8 0 1 0-2.3 6.3M20 5v6h-6",
  alert: "M12 8v5M12 16.5v.01M10.3 4.2 2.6 17.5A2 2 0 0 0 4.3 20.5h15.4a2 2 0 0 0 1.7-3L13.7 4.2a2 2 0 0 0-3.4 0Z",
  check: "m5 12.5 4.5 4.5L19 7.5",
  close: "M6 6l12 12M18 6 6 18",
  compare: "M12 3v18M4 6.5h5v11H4zM15 6.5h5v11h-5z",
  copy: "M9 9h10v11H9zM15 9V4H5v11h4",
  download: "M12 4v11m-4.5-4L12 15.5 16.5 11M5 19.5h14",
  edit: "M4 20l1-4.5L16.5 4a2 2 0 0 1 2.8 0l.7.7a2 2 0 0 1 0 2.8L8.5 19 4 20ZM14.5 6l3.5 3.5",
  image: "M4 5h16v14H4zM4 16l5-5 4 4 2.5-2.5L20 17M15.5 9v.01",
  key: "M14.5 4a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11ZM10.5 13.5 4 20M6.5 17.5l2.5 2.5M16 8v.01",
  left: "m14.5 5-7 7 7 7",
  moon: "M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10Z",
  open: "M13 5h6v6M19 5l-8 8M10 6H5v13h13v-5",
  refused: "M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17ZM6 6l12 12",
  reuse: "M9 6 4 11l5 5M4 11h10a6 6 0 0 1 6 6v1",
  right: "m9.5 5 7 7-7 7",
  sliders: "M4 7h9M17 7h3M4 17h3M11 17h9M15 4.5v5M9 14.5v5",
  spark: "M12 3.5 13.8 9 19.5 11 13.8 13 12 18.5 10.2 13 4.5 11 10.2 9zM19 16.5v4M17 18.5h4",
  stop: "M7 7h10v10H7z",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M18.7 5.3l-1.4 1.4M6.7 17.3l-1.4 1.4",
};

/**
 * An element: its tag with classes ("div.row"), perhaps attributes by name (`on…` are listeners; null, undefined and
 * false leave out), then its children.
 */
export function h(tag, ...children) {
  const [kind, ...classes] = tag.split(".");
  const element = document.createElement(kind);
  const attributes = children[0]?.constructor === Object ? children.shift() : {};
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else set(element, name, value);
  }
  return fill(element, children);
}

/** Replace what an element holds; null, undefined and false are nothing. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(2).filter((child) => (child ?? false) !== false));
  return element;
}

/** Set an element's text, but only where it changes: screen readers and selections are left alone. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Set an attribute, or with null, undefined or false remove it, but only where it changes. */
export function set(element, name, value) {
  if ((value ?? false) === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value === true ? "" : value);
}

/** A decorative icon. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/**
 * A button with a label and perhaps an icon before it; `kind` is a class: primary, small, chip, or compact, which on a
 * phone shows only the icon.
 */
export function button(label, { kind = "", icon: name, ...attributes } = {}) {
  return h("button", { type: "button", class: `button ${kind}`, ...attributes }, name && icon(name), h("span", label));
}

/** A button that shows only its icon; the label is its name. */
export function iconButton(label, name, attributes = {}) {
  return h("button", { type: "button", class: "button round", "aria-label": label, title: label, ...attributes }, icon(name));
}

/** Run while a button is busy: it shows another label and ignores a second click, but keeps the focus. */
export async function busy(element, label, work) {
  if (element.getAttribute("aria-disabled") === "true") return undefined;
  const text = element.querySelector("span");
  const before = text?.textContent;
  element.setAttribute("aria-disabled", "true");
  if (label) write(text, label);
  try {
    return await work((now) => write(text, now));
  } finally {
    element.removeAttribute("aria-disabled");
    if (text) write(text, before);
  }
}
