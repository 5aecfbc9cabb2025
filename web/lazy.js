// What only some visits need, and so comes when it is needed.

// A browser may remember for good that a module could not be loaded: each further try has its own URL.
const failures = new Map();

/** A module of the page, by the name of its file; after a failure, the next call tries again. */
export async function loadModule(file) {
  const failed = failures.get(file) ?? 0;
  try {
    return await import(failed ? `./${file}?${failed}` : `./${file}`);
  } catch (error) {
    failures.set(file, failed + 1);
    throw error;
  }
}
