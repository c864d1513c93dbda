// Shows /openapi.json and lets its reader try each call. Text is only ever set as text, never as markup.

const METHODS = ["get", "post", "patch", "delete"];
const DEPTH = 6;

let token = "";

const description = await (await fetch("/openapi.json")).json();
showAbout();
showContents();
showOperations();
openFromAddress();
window.addEventListener("hashchange", openFromAddress);
document.getElementById("token-form").addEventListener("submit", useToken);

function useToken(event) {
  event.preventDefault();
  token = document.getElementById("token").value.trim();
  document.getElementById("token-state").textContent = token ? "Sent with every call from this page" : "No token yet";
}

function showAbout() {
  const { title, description: text, version } = description.info;
  document.title = `${title}: the interface`;
  document.getElementById("about").textContent = `${text} Version ${version}.`;
}

function showContents() {
  const contents = document.getElementById("contents");
  for (const tag of description.tags) {
    const links = operationsOf(tag.name).map((operation) =>
      element("li", {}, element("a", { href: `#${operation.operationId}` }, operation.summary)),
    );
    contents.append(element("h2", {}, tag.name), element("ul", {}, ...links));
  }
}

function showOperations() {
  const sections = description.tags.map((tag) =>
    element(
      "section",
      {},
      element("h2", {}, tag.name),
      element("p", { class: "faint" }, tag.description),
      ...operationsOf(tag.name).map(showOperation),
    ),
  );
  document.getElementById("operations").replaceChildren(...sections);
}

function operationsOf(tag) {
  const all = Object.entries(description.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({ path, method, ...item[method] })),
  );
  return all.filter((operation) => operation.tags.includes(tag));
}

function showOperation(operation) {
  const head = element(
    "summary",
    {},
    element("span", { class: "method" }, operation.method.toUpperCase()),
    element("code", {}, operation.path),
    element("span", { class: "faint" }, ` ${operation.summary}`),
  );
  const body = element(
    "div",
    {},
    operation.description ? element("p", {}, operation.description) : null,
    operation.security ? element("p", { class: "faint" }, "Needs no token.") : null,
    showParameters(operation),
    showRequestBody(operation),
    showResponses(operation),
    showTrial(operation),
  );
  return element("details", { id: operation.operationId }, head, body);
}

function showParameters(operation) {
  const rows = (operation.parameters ?? []).map((parameter) =>
    element(
      "tr",
      {},
      element("td", {}, element("code", {}, parameter.name)),
      element("td", { class: "faint" }, `${parameter.in}${parameter.required ? ", required" : ""}`),
      element("td", {}, parameter.description ?? ""),
    ),
  );
  return rows.length ? element("div", {}, element("h3", {}, "Parameters"), element("table", {}, ...rows)) : null;
}

function showRequestBody(operation) {
  const content = operation.requestBody?.content?.["application/json"];
  if (!content) return null;
  return element("div", {}, element("h3", {}, "Body"), showSchema(content.schema));
}

function showResponses(operation) {
  const responses = Object.entries(operation.responses).map(([status, response]) => {
    const content = response.content?.["application/json"];
    const head = element("summary", {}, element("code", {}, status), ` ${firstLine(response.description)}`);
    const body = element(
      "div",
      {},
      element("p", {}, ...lines(response.description)),
      content?.schema ? showSchema(content.schema) : null,
      content?.example ? element("pre", {}, JSON.stringify(content.example, null, 2)) : null,
    );
    return element("details", {}, head, body);
  });
  return element("div", {}, element("h3", {}, "Answers"), ...responses);
}

function showSchema(schema) {
  return element("pre", {}, outline(schema, 0));
}

// A schema as people write examples: field names with types, and what they mean.
function outline(schema, depth) {
  const resolved = resolve(schema);
  if (depth > DEPTH) return "…";
  const indent = "  ".repeat(depth + 1);
  const properties = fieldsOf(resolved);
  if (properties.length) {
    const fields = properties.map(([name, field, required]) => {
      const remark = resolve(field).description ?? field.description;
      const note = remark ? `  // ${remark.replaceAll("\n", " ")}` : "";
      return `${indent}${name}${required ? "" : "?"}: ${outline(field, depth + 1)}${note}`;
    });
    return `{\n${fields.join("\n")}\n${"  ".repeat(depth)}}`;
  }
  if (resolved.items) return `[${outline(resolved.items, depth)}]`;
  const choices = resolved.oneOf ?? resolved.anyOf;
  if (choices) return choices.map((choice) => outline(choice, depth)).join(" | ");
  if (resolved.enum) return resolved.enum.map((value) => JSON.stringify(value)).join(" | ");
  const type = [resolved.type ?? "any"].flat().join(" | ");
  return resolved.format ? `${type} (${resolved.format})` : type;
}

function fieldsOf(schema) {
  const required = new Set(schema.required ?? []);
  const own = Object.entries(schema.properties ?? {}).map(([name, field]) => [name, field, required.has(name)]);
  return (schema.allOf ?? []).flatMap((part) => fieldsOf(resolve(part))).concat(own);
}

function resolve(schema) {
  const reference = schema?.$ref;
  return reference ? resolve(description.components.schemas[reference.split("/").pop()]) : (schema ?? {});
}

function showTrial(operation) {
  const inputs = (operation.parameters ?? []).map((parameter) => ({
    parameter,
    input: element("input", { "aria-label": parameter.name, placeholder: parameter.required ? "required" : "" }),
  }));
  const content = operation.requestBody?.content?.["application/json"];
  const body = content
    ? element("textarea", { "aria-label": "Body", spellcheck: "false" }, JSON.stringify(content.example ?? {}, null, 2))
    : null;
  const answer = element("div", { "aria-live": "polite" });
  const form = element(
    "form",
    { autocomplete: "off" },
    element("h3", {}, "Try it"),
    ...inputs.map(({ parameter, input }) =>
      element("div", { class: "field" }, element("code", {}, parameter.name), input),
    ),
    body,
    element("button", { type: "submit" }, "Send"),
    answer,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    answer.replaceChildren(element("p", { class: "faint" }, "Sent."));
    answer.replaceChildren(...(await call(operation, inputs, body)));
  });
  return form;
}

async function call(operation, inputs, body) {
  let path = operation.path;
  const query = new URLSearchParams();
  const headers = new Headers();
  if (token) headers.set("authorization", `Bearer ${token}`);
  if (body) headers.set("content-type", "application/json");
  for (const { parameter, input } of inputs) {
    const value = input.value.trim();
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(value));
    if (parameter.in === "query" && value) query.set(parameter.name, value);
    if (parameter.in === "header" && value) headers.set(parameter.name, value);
  }
  const address = query.size ? `${path}?${query}` : path;
  try {
    const method = operation.method.toUpperCase();
    const response = await fetch(address, { method, headers, body: body?.value, cache: "no-store" });
    return showAnswer(response, await response.text());
  } catch (error) {
    return [element("p", { class: "bad" }, `No answer: ${error.message}`)];
  }
}

function showAnswer(response, text) {
  const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
  return [
    element("p", { class: response.ok ? "good" : "bad" }, `${response.status} ${response.statusText}`),
    element("details", {}, element("summary", {}, "Headers"), element("div", {}, element("pre", {}, headers))),
    element("pre", {}, pretty(text)),
  ];
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function openFromAddress() {
  const target = document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.scrollIntoView();
  }
}

function firstLine(text) {
  return (text ?? "").split("\n", 1)[0];
}

function lines(text) {
  return (text ?? "").split("\n").flatMap((line) => [line, element("br", {})]);
}

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}
