// A question that is answered with yes or no.

import { button, fill, h } from "./dom.js";

/** Ask in a dialog; whether the answer was `yes`. Escape, a click beside the dialog, and another view are a no. */
export function ask(question, yes, no) {
  return new Promise((resolve) => {
    const dialog = h("dialog.question", { role: "alertdialog", "aria-labelledby": "question", closedby: "any" });
    // The safe answer has the focus: a key that is still held down answers nothing.
    const refuse = button(no, { autofocus: true, onclick: () => dialog.close() });
    const agree = button(yes, { kind: "primary", onclick: () => dialog.close("yes") });
    fill(dialog, h("p", { id: "question" }, question), h("div.row", agree, refuse));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
