// What the catchers hold: mails, text messages, webhooks. A thing that was caught never changes, so each is drawn once.

import { badge, button, byId, element, empty, facts, instant, pretty } from "./dom.js";

/**
 * The one place where text becomes markup: the frame of a mail, whose sandbox lets nothing run. Browsers with trusted
 * types let HTML pass through this policy only.
 */
const mailPolicy = globalThis.trustedTypes?.createPolicy("sandboxed-mail", { createHTML: (html) => html }) ?? { createHTML: (html) => html };

/** One tab's feed; `draw` makes the element of one item. */
function feed(id, nothing, draw) {
  const panel = byId(id);
  const counter = byId(`${id}-count`);
  const drawn = new Map();
  return (items) => {
    const wanted = new Set(items.map((item) => item.number));
    for (const [number, shown] of drawn) {
      if (!wanted.has(number)) {
        shown.remove();
        drawn.delete(number);
      }
    }
    panel.querySelector(":scope > .empty")?.remove();
    for (const item of items) {
      if (drawn.has(item.number)) continue;
      const made = draw(item);
      drawn.set(item.number, made);
      panel.prepend(made);
    }
    if (items.length === 0) panel.append(empty(nothing));
    counter.textContent = String(items.length);
  };
}

export const showMails = feed("mail", "No mail yet.", (mail) => {
  const parts = [];
  if (mail.html) parts.push(["HTML", mailFrame(mail.html)]);
  if (mail.text) parts.push(["Text", element("pre", { class: "part" }, mail.text)]);
  parts.push(["Headers", facts(mail.headers)]);
  return element("article", { class: "card" },
    element("header", {},
      element("strong", {}, mail.subject || "(no subject)"),
      element("span", { class: "quiet" }, `${mail.from} → ${mail.to.join(", ")}`),
      element("span", { class: "when" }, instant(mail.atMs))),
    ...choice(parts));
});

/** The sandbox is empty on purpose: no scripts, no forms, no navigation, an origin of its own. */
function mailFrame(html) {
  const frame = element("iframe", { sandbox: "", title: "The mail as its reader sees it", referrerpolicy: "no-referrer" });
  frame.srcdoc = mailPolicy.createHTML(html);
  return frame;
}

/** Several views of one thing, one shown at a time. */
function choice(parts) {
  const buttons = parts.map(([name], index) => button(name, () => show(index)));
  const show = (chosen) => parts.forEach(([, view], index) => {
    view.hidden = index !== chosen;
    buttons[index].setAttribute("aria-pressed", String(index === chosen));
  });
  show(0);
  return [element("div", { class: "switch" }, ...buttons), ...parts.map(([, view]) => view)];
}

export const showMessages = feed("sms", "No text message yet.", (message) =>
  element("article", { class: "bubble" },
    element("p", {}, message.text),
    element("footer", {}, `${message.from} → ${message.to} · `, instant(message.atMs))));

export const showWebhooks = feed("webhook", "No webhook yet.", (hook) =>
  element("article", { class: "card" },
    element("header", {},
      element("strong", {}, `${hook.method} ${hook.path}`),
      hook.verified ? badge("signature verified", "good") : badge("signature wrong", "bad"),
      element("span", { class: "when" }, instant(hook.atMs))),
    facts(hook.headers),
    element("pre", { class: "part" }, pretty(hook.body))));
