// Sending: a sample with one click, anything with the form, and how the next webhook fares.

import { ask, scriptWebhook } from "./api.js";
import { attempt, button, byId, element } from "./dom.js";
import { present } from "./clock.js";

/** Sets up everything that sends; `sent` is called after each attempt to. */
export function startSending(session, sent) {
  const form = byId("form");
  const submit = async (notification, headers = {}) => {
    const response = await ask("POST", "/api/notifications", { targetUserId: session.userId, ...notification }, headers);
    const text = await response.text();
    byId("answer").textContent = `${response.status} ${response.statusText}\n${text}`;
    sent();
  };
  byId("samples").append(...session.samples.map((sample) =>
    button(sample.label, () => attempt(() => submit({ type: sample.type, payload: sample.payload })))));
  form.elements.type.append(...session.channels.map((channel) => element("option", {}, channel)));
  form.elements.type.addEventListener("change", () => offerPayload(form, session.samples));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(() => submit(draft(form), keyHeader(form)));
  });
  offerPayload(form, session.samples);
  startScript();
}

/** Fills in the payload of a sample for the channel that is chosen. */
function offerPayload(form, samples) {
  const sample = samples.find(({ type }) => type === form.elements.type.value);
  form.elements.payload.value = JSON.stringify(sample?.payload ?? {}, null, 2);
}

function draft(form) {
  const { type, priority, category, delay, payload } = form.elements;
  const made = { type: type.value, priority: priority.value, payload: parsed(payload.value) };
  if (category.value.trim() !== "") made.category = category.value.trim();
  if (delay.value !== "") made.sendAt = new Date(present().getTime() + Number(delay.value) * 1000).toISOString();
  return made;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`The payload is not JSON: ${error.message}`);
  }
}

function keyHeader(form) {
  const key = form.elements.key.value.trim();
  return key === "" ? {} : { "Idempotency-Key": key };
}

const prepared = [];
let webhooksSeen = null;

function startScript() {
  for (const control of document.querySelectorAll("[data-answer]")) {
    control.addEventListener("click", () => attempt(async () => {
      await scriptWebhook(control.dataset.answer);
      prepared.push(control.textContent);
      showPrepared();
    }));
  }
}

/** Each webhook that comes uses up one of the answers that were prepared. */
export function useUp(webhooks) {
  const last = webhooks.at(-1)?.number ?? 0;
  if (webhooksSeen !== null) prepared.splice(0, Math.max(0, last - webhooksSeen));
  webhooksSeen = last;
  showPrepared();
}

function showPrepared() {
  byId("scripted").textContent = prepared.length === 0 ? "" : `Next: ${prepared.join(", then ")}`;
}
