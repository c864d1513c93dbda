// The dev page: opens a session, then shows whatever happens.

import { events, open } from "./api.js";
import { showMails, showMessages, showWebhooks } from "./caught.js";
import { setClock, startClock } from "./clock.js";
import { attempt, byId, complain } from "./dom.js";
import { refresh } from "./followed.js";
import { startSending, useUp } from "./send.js";

const LOOK_EVERY = 2000;
const RETRY_AFTER = 1000;

const pause = (millis) => new Promise((resolve) => setTimeout(resolve, millis));

function showConnection(isUp) {
  const badge = byId("connection");
  badge.textContent = isUp ? "live" : "not reachable";
  badge.className = isUp ? "badge good" : "badge bad";
}

/** One request after another, each answered when there is something new. A server that was away may be another one. */
async function follow(look) {
  let version = "";
  let wasAway = false;
  for (;;) {
    try {
      const caught = await events(version);
      if (wasAway) location.reload();
      showConnection(true);
      version = caught.version;
      setClock(caught.clock);
      showMails(caught.mails);
      showMessages(caught.messages);
      showWebhooks(caught.webhooks);
      useUp(caught.webhooks);
      look();
    } catch {
      showConnection(false);
      wasAway = true;
      await pause(RETRY_AFTER);
    }
  }
}

function startTabs() {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const choose = (chosen) => {
    for (const tab of tabs) {
      const isChosen = tab === chosen;
      tab.setAttribute("aria-selected", String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
      byId(tab.getAttribute("aria-controls")).hidden = !isChosen;
    }
  };
  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", ({ key }) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
      if (step === undefined) return;
      const next = tabs[(index + step + tabs.length) % tabs.length];
      choose(next);
      next.focus();
    });
  });
}

function introduce({ username, contact, mailCatcher, webhookCatcher }) {
  byId("recipient").textContent = `To ${username}: ${contact.email}, ${contact.phone}, ${contact.webhookUrl}`;
  byId("catchers").textContent = `Mails are caught at ${mailCatcher}, webhooks at ${webhookCatcher}; nothing leaves this machine.`;
}

async function start() {
  startTabs();
  const session = await open();
  introduce(session);
  const look = () => attempt(() => refresh(session));
  startSending(session, look);
  startClock(look);
  setInterval(() => {
    if (!document.hidden) look();
  }, LOOK_EVERY);
  await follow(look);
}

start().catch((error) => complain(`The page cannot start: ${error.message}`));
