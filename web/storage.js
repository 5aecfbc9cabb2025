// Texts that outlive a reload of the tab. Where storage is forbidden, nothing does.

export function stored(name) {
  try {
    return sessionStorage.getItem(name) ?? "";
  } catch {
    return "";
  }
}

export function store(name, text) {
  try {
    sessionStorage.setItem(name, text);
  } catch {
    // Then a reload forgets it.
  }
}
