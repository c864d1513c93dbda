// Building the page. Everything that came from outside becomes text, never markup.

/** Makes an element: attributes, then children, which are elements or texts. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function byId(id) {
  return document.getElementById(id);
}

/** Replaces what a container shows, or says that there is nothing. */
export function fill(container, children, nothing) {
  container.replaceChildren(...(children.length > 0 ? children : [nothing]));
}

export function empty(text) {
  return element("p", { class: "empty" }, text);
}

export function emptyRow(columns, text) {
  return element("tr", {}, element("td", { colspan: columns, class: "empty" }, text));
}

export function badge(text, kind = "") {
  return element("span", { class: `badge ${kind}` }, text);
}

export function button(text, onclick, attributes = {}) {
  return element("button", { type: "button", onclick, ...attributes }, text);
}

/** An instant, RFC 3339 or milliseconds, in the reader's zone, with the exact one as its title. */
export function instant(when) {
  if (!when) return element("span", { class: "quiet" }, "-");
  const date = new Date(when);
  return element("time", { datetime: date.toISOString(), title: date.toISOString() }, clockText(date));
}

export function clockText(date) {
  const today = date.toDateString() === new Date().toDateString();
  const time = date.toLocaleTimeString();
  return today ? time : `${date.toLocaleDateString()} ${time}`;
}

/** Names and values as a definition list. */
export function facts(pairs) {
  const items = pairs.flatMap(({ name, value }) => [element("dt", {}, name), element("dd", {}, value)]);
  return element("dl", { class: "facts part" }, ...items);
}

/** JSON, indented if it is any. */
export function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

let problemTimer;

/** Shows what went wrong, for a while. */
export function complain(text) {
  const line = byId("problem");
  line.textContent = text;
  line.hidden = false;
  clearTimeout(problemTimer);
  problemTimer = setTimeout(() => { line.hidden = true; }, 10_000);
}

/** Runs an action of the reader; whatever fails is shown. */
export async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    complain(error.message);
    return undefined;
  }
}
