// The product's clock. It can only go forward.

import { advance } from "./api.js";
import { attempt, byId, clockText } from "./dom.js";

let ahead = 0;

/** Takes over the time of the server. */
export function setClock({ now, shiftMs }) {
  ahead = Date.parse(now) - Date.now();
  byId("shift").textContent = shiftMs > 0 ? `moved ${span(shiftMs)} ahead` : "";
  tick();
}

/** The product's present. */
export function present() {
  return new Date(Date.now() + ahead);
}

/** Lets the buttons move the clock; `moved` is called afterwards. */
export function startClock(moved) {
  setInterval(tick, 1000);
  for (const control of document.querySelectorAll("[data-advance]")) {
    control.addEventListener("click", () => attempt(async () => {
      setClock(await advance(control.dataset.advance));
      moved();
    }));
  }
}

function tick() {
  byId("now").textContent = clockText(present());
}

function span(millis) {
  const seconds = Math.round(millis / 1000);
  const parts = [[86_400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  let rest = seconds;
  const words = [];
  for (const [size, unit] of parts) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0) words.push(`${count} ${unit}`);
  }
  return words.join(" ");
}
