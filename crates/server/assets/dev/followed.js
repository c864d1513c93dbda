// What the public API says: recent notifications with their journal, dead letters, the inbox.

import { call } from "./api.js";
import { attempt, badge, button, byId, element, empty, emptyRow, facts, fill, instant } from "./dom.js";

const KINDS = {
  delivered: "good", read: "good", retrying: "warn", sending: "warn", dead: "bad", expired: "bad", cancelled: "bad", pending: "warn", reviewing: "warn",
};
const WAITING = ["queued", "scheduled", "retrying"];

/** The notification whose journal is shown. */
let opened = null;
const lastDrawn = new Map();

/** Asks for everything and draws what has changed. */
export async function refresh(session) {
  const [recent, dead, inbox] = await Promise.all([
    call("GET", "/api/notifications?limit=20"),
    call("GET", "/api/dead-letters?limit=20"),
    call("GET", `/api/users/${session.userId}/inbox?limit=30`),
  ]);
  const detail = opened === null ? null : await call("GET", `/api/notifications/${opened}`);
  const again = () => attempt(() => refresh(session));
  draw("recent", [recent, detail], () => drawRecent(recent.items, detail, again));
  draw("dead", dead, () => drawDead(dead.items, again));
  draw("inbox", inbox, () => drawInbox(inbox, session, again));
}

/** Draws only what differs from the last time, so that nothing moves under the reader's hand. */
function draw(id, state, drawing) {
  const text = JSON.stringify(state);
  if (lastDrawn.get(id) === text) return;
  lastDrawn.set(id, text);
  drawing();
}

function act(path, again, body) {
  return attempt(async () => {
    await call("POST", path, body);
    again();
  });
}

function drawRecent(items, detail, again) {
  const rows = items.flatMap((item) => {
    const isOpen = item.messageId === detail?.messageId;
    const toggle = () => {
      opened = isOpen ? null : item.messageId;
      again();
    };
    const row = element("tr", {},
      element("td", {}, instant(item.createdAt)),
      element("td", {}, item.type),
      element("td", {}, item.category),
      element("td", {}, badge(item.deliveryStatus, KINDS[item.deliveryStatus] ?? "")),
      element("td", {}, String(item.retriesAttempted)),
      element("td", {}, instant(item.processedAt ?? item.sendAt)),
      element("td", { class: "error" }, item.errorMessage ?? ""),
      element("td", {}, element("div", { class: "buttons" },
        button("Journal", toggle, { "aria-expanded": String(isOpen), "aria-pressed": String(isOpen) }),
        WAITING.includes(item.deliveryStatus) ? button("Cancel", () => act(`/api/notifications/${item.messageId}/cancel`, again)) : null)));
    return isOpen ? [row, element("tr", {}, element("td", { colspan: 8 }, journal(detail)))] : [row];
  });
  fill(byId("recent"), rows, emptyRow(8, "Nothing was sent yet."));
}

function journal(detail) {
  const about = facts([
    { name: "messageId", value: element("code", {}, detail.messageId) },
    { name: "routing key", value: detail.routingKey },
    { name: "correlation", value: element("code", {}, detail.correlationId) },
  ]);
  const entries = detail.journal.map((entry) => {
    const attemptMade = detail.attempts.find(({ number }) => number === entry.attempt);
    const said = attemptMade ? ` · attempt ${attemptMade.number} by ${attemptMade.provider}, ${attemptMade.durationMs} ms, ${attemptMade.outcome}${attemptMade.code ? ` (${attemptMade.code})` : ""}` : "";
    return element("li", {}, instant(entry.at), ` ${entry.event}${said}${entry.detail ? ` · ${entry.detail}` : ""}`);
  });
  return element("div", {}, about, element("ol", {}, ...entries));
}

function drawDead(items, again) {
  const rows = items.map((item) => {
    const isOpen = item.reviewStatus === "pending" || item.reviewStatus === "reviewing";
    const path = `/api/dead-letters/${item.messageId}`;
    return element("tr", {},
      element("td", {}, instant(item.diedAt)),
      element("td", {}, item.type),
      element("td", { class: "error" }, item.error),
      element("td", {}, String(item.attempts)),
      element("td", {}, badge(item.reviewStatus, KINDS[item.reviewStatus] ?? "")),
      element("td", {}, element("div", { class: "buttons" },
        button("Redrive", () => act(`${path}/redrive`, again), { disabled: !isOpen }),
        button("Discard", () => act(`${path}/discard`, again), { disabled: !isOpen }))));
  });
  fill(byId("dead"), rows, emptyRow(6, "No dead letters."));
}

function drawInbox(inbox, session, again) {
  const mark = (receipt) => act(`/api/users/${session.userId}/inbox/receipts`, again, receipt);
  const entries = inbox.items.map((item) => {
    const payload = item.payload ?? {};
    const link = payload.link ? element("p", { class: "quiet" }, String(payload.link)) : null;
    return element("article", { class: item.readAt ? "entry" : "entry unread" },
      element("span", { class: "number mono" }, String(item.number)),
      element("div", {},
        element("p", {}, element("strong", {}, String(payload.title ?? ""))),
        element("p", {}, String(payload.message ?? "")),
        link,
        element("p", { class: "quiet" }, instant(item.createdAt), item.readAt ? " · read" : " · unread")),
      item.readAt ? null : button("Mark read", () => mark({ receipt: "read", numbers: [item.number] })));
  });
  if (inbox.unread > 0) {
    entries.unshift(element("div", { class: "buttons" }, button(`Mark all ${inbox.unread} read`, () => mark({ receipt: "read", upTo: inbox.last }))));
  }
  byId("inbox-count").textContent = inbox.unread > 0 ? `${inbox.unread} unread` : String(inbox.last);
  fill(byId("inbox"), entries, empty("The inbox is empty."));
}
