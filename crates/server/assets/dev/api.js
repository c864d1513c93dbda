// The public API, called as any other client would, and the few calls that exist in dev only.

let session;

/** Who this page acts as. Asked for once. */
export async function open() {
  session = await json(await fetch("/dev/session.json", { cache: "no-store" }));
  return session;
}

/** Calls the public API; an answer that is no success is an error with the API's own words. */
export async function call(method, path, body, headers = {}) {
  const response = await ask(method, path, body, headers);
  return json(response);
}

/** The same, but with the status and the answer, whatever it is. */
export async function ask(method, path, body, headers = {}) {
  return fetch(path, {
    method,
    cache: "no-store",
    headers: {
      Authorization: `Bearer ${session.token}`,
      ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      ...headers,
    },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
}

/** Waits until the catchers hold something that was not there at `version`. */
export async function events(version, signal) {
  return json(await fetch(`/dev/events?after=${version}`, { cache: "no-store", signal }));
}

export async function advance(by) {
  return json(await post("/dev/clock", { advance: by }));
}

export async function scriptWebhook(answer) {
  return json(await post("/dev/next-webhook", { answer }));
}

function post(path, body) {
  return fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

async function json(response) {
  const text = await response.text();
  const value = text === "" ? null : read(text);
  if (response.ok) return value;
  throw new Error(value?.message ?? `${response.status} ${response.statusText}`);
}

function read(text) {
  try {
    return JSON.parse(text);
  } catch {
    return { message: text };
  }
}
