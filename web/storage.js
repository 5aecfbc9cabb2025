// Texts that outlive a reload of the tab; where storage is forbidden, only the page.

// The reference images of the form.
export const REFERENCES = "references";

const kept = new Map();

export function stored(name) {
  try {
    return sessionStorage.getItem(name) ?? "";
  } catch {
    return kept.get(name) ?? "";
  }
}

export function store(name, text) {
  try {
    sessionStorage.setItem(name, text);
  } catch {
    kept.set(name, text);
  }
}
