// Writes the tables of docs/performance.md from the reports of scripts/performance.
//
//   node tables.js FOLDER DOCUMENT
"use strict";

const fs = require("fs");
const path = require("path");

const [folder, document] = process.argv.slice(2);

function read(name) {
  const file = path.join(folder, `${name}.json`);
  return fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, "utf8")) : undefined;
}

const NAMES = [
  "idle", "accept", "accept-keys", "accept-none-due", "accept-users", "accept-batch", "accept-open", "accept-stored",
  "deliver", "deliver-users", "deliver-open", "deliver-stored", "webhook", "webhook-many", "webhook-open", "email", "email-many",
  "recover", "recover-many", "compare",
];
const reports = Object.fromEntries(NAMES.map((name) => [name, read(name)]));

const NOT_MEASURED = "not measured";
const whole = (number) => Math.round(number).toLocaleString("en");
const millis = (number) => (number < 10 ? number.toFixed(1) : whole(number));
const megabytes = (bytes) => `${whole(bytes / 1e6)} MB`;
const times = (ratio) => `${ratio.toFixed(1)}x`;
const percent = (share) => `${(share * 100).toFixed(0)} %`;

/** What `show` makes of the reports, or that one of them is missing. */
function given(names, show) {
  const found = names.map((name) => reports[name]);
  return found.every(Boolean) ? show(...found) : NOT_MEASURED;
}

/** The arguments of a measurement, as its report tells them. */
function command({ benchmark, plan }) {
  const words = ["tidings", "bench", benchmark];
  const add = (name, value, usual) => value !== undefined && value !== usual && words.push(`--${name} ${value}`);
  if (plan.connections === 0) return `\`${words.join(" ")}\``;
  add("channel", plan.channel, "in-app");
  add("connections", plan.connections, 64);
  if (plan.idempotencyKeys) words.push("--idempotency-keys");
  add("batch", plan.batch, 1);
  add("rate", plan.ratePerSecond);
  add("users", plan.users, 1);
  add("preload", plan.preloaded, 0);
  if (benchmark === "recover") add("pending", plan.pending, 100000);
  for (const setting of plan.settings) words.push(`--set ${setting}`);
  return `\`${words.join(" ")}\``;
}

function table(head, rows) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

/** Rows for those of the reports that are there. */
function rowsOf(names, row) {
  const found = names.map((name) => reports[name]).filter(Boolean);
  return found.length > 0 ? found.map(row) : [[NOT_MEASURED]];
}

function targets() {
  const compared = (pick) => given(["compare"], pick);
  const share = (now, before) => `${percent(now / before)} of the empty store`;
  const rows = [
    ["durable accepts/s, 64 connections", "10x the tuned baseline in the same run", "20x",
      compared(({ ratios, tidings }) => `${times(ratios.acceptsOverTuned)} (${whole(tidings.acceptsPerSecond)})`), "`bench/compare`"],
    ["accepted and delivered (in-app) per second, sustained", "6x", "15x",
      compared(({ ratios, tidings }) => `${times(ratios.deliveredOverTuned)} (${whole(tidings.deliveredPerSecond)})`), "`bench/compare`"],
    ["accepted and received webhooks per second", "10x Svix as stated (930/s)", "20x",
      compared(({ ratios, tidings }) => `${times(ratios.webhooksOverSvixStated)} (${whole(tidings.webhooksPerSecond)})`), "`bench/compare`"],
    ["accept p99 at 1,000/s", "10 ms", "3 ms",
      given(["accept-open"], ({ accept }) => `${millis(accept.latencyMs.p99)} ms`), "`tidings bench accept --rate 1000`"],
    ["resident memory under load", "150 MB", "60 MB",
      given(["accept", "deliver"], (...both) => `${megabytes(Math.max(...both.map(({ server }) => server.peakResidentBytes)))} at most`),
      "`tidings bench accept`, `tidings bench deliver`"],
    ["at rest: CPU, start to ready, memory", "0.5 %, 300 ms, 40 MB", "0.1 %, 100 ms, 20 MB",
      given(["idle"], ({ idle }) => `${idle.cpuPercent.toFixed(2)} %, ${whole(idle.firstStartMs.median)} ms, ${megabytes(idle.residentBytes)}`),
      "`tidings bench idle`"],
    ["5 million stored notifications: accepts/s, delivered/s", "70 % of the empty store's rates", "90 %",
      given(["accept-stored", "accept", "deliver-stored", "deliver"], (acceptStored, accept, deliverStored, deliver) =>
        `${share(acceptStored.accept.perSecond, accept.accept.perSecond)}, ${share(deliverStored.deliver.perSecond, deliver.deliver.perSecond)}` +
        (acceptStored.plan.preloaded < 5e6 ? ` (${whole(acceptStored.plan.preloaded)} stored)` : "")),
      "the same with `--preload 5000000`"],
    ["back at full rate after `kill -9`", "2 s", "0.5 s",
      given(["recover"], ({ recover }) => `${(recover.killToFullRateMs / 1000).toFixed(2)} s`), "`tidings bench recover`"],
  ];
  return table(["what", "floor", "aim", "measured", "command"], rows);
}

function errorsOf({ accept, deliver }) {
  const refused = Object.entries(accept.answersByStatus).filter(([status]) => status !== "202");
  const errors = refused.map(([status, count]) => `${whole(count)} x ${status}`);
  if (accept.connectionFailures > 0) errors.push(`${whole(accept.connectionFailures)} without an answer`);
  if (accept.unsent > 0) errors.push(`${whole(accept.unsent)} never sent`);
  if (deliver && deliver.neverDelivered > 0) errors.push(`${whole(deliver.neverDelivered)} never delivered`);
  return errors.length > 0 ? errors.join(", ") : "none";
}

function accepting() {
  const head = ["command", "accepts/s", "p50", "p99", "p99.9", "CPU each", "written each", "memory at most", "errors"];
  const names = ["accept", "accept-keys", "accept-none-due", "accept-users", "accept-batch", "accept-open", "accept-stored"];
  const row = (report) => [
    command(report), whole(report.accept.perSecond),
    ...["p50", "p99", "p999"].map((quantile) => `${millis(report.accept.latencyMs[quantile])} ms`),
    `${whole(report.server.cpuMicrosPerNotification)} us`, `${whole(report.server.writtenBytesPerNotification)} bytes`,
    megabytes(report.server.peakResidentBytes), errorsOf(report),
  ];
  return table(head, rowsOf(names, row));
}

function delivering() {
  const head = ["command", "delivered/s", "end to end p50", "p99", "p99.9", "CPU each", "memory at most", "errors"];
  const names = ["deliver", "deliver-users", "deliver-open", "deliver-stored", "webhook", "webhook-many", "webhook-open", "email", "email-many"];
  const row = (report) => {
    const latency = report.deliver.latencyMs;
    return [
      command(report), whole(report.deliver.perSecond),
      ...["p50", "p99", "p999"].map((quantile) => (latency ? `${millis(latency[quantile])} ms` : "-")),
      `${whole(report.server.cpuMicrosPerNotification)} us`, megabytes(report.server.peakResidentBytes), errorsOf(report),
    ];
  };
  return table(head, rowsOf(names, row));
}

function recovering() {
  const head = ["command", "store", "delivered/s before", "start to ready", "first delivery after the kill", "back at 90 % after the kill"];
  const row = (report) => {
    const { recover } = report;
    return [
      command(report), megabytes(recover.storeBytes), whole(recover.rateBefore), `${whole(recover.startToReadyMs)} ms`,
      `${whole(recover.killToFirstDeliveryMs)} ms`, `${whole(recover.killToFullRateMs)} ms`,
    ];
  };
  return table(head, rowsOf(["recover", "recover-many"], row));
}

function resting() {
  const head = ["start into an empty directory", "start after `kill -9`", "memory", "CPU"];
  const spread = ({ median, min, max }) => `${whole(median)} ms (${whole(min)} to ${whole(max)})`;
  const row = ({ idle }) => [
    spread(idle.firstStartMs), spread(idle.nextStartMs), megabytes(idle.residentBytes), `${idle.cpuPercent.toFixed(2)} % of a core`,
  ];
  return table(head, rowsOf(["idle"], row));
}

function comparison() {
  const head = ["", "baseline, faithful", "baseline, tuned", "Tidings", "Tidings / tuned"];
  return given(["compare"], ({ faithful, tuned, tidings }) => {
    const ones = [faithful, tuned, tidings];
    const ratio = (name) => times(tidings[name] / tuned[name]);
    return table(head, [
      ["durable accepts/s", ...ones.map((one) => whole(one.acceptsPerSecond)), ratio("acceptsPerSecond")],
      ["accept p50 / p99", ...ones.map((one) => `${millis(one.acceptP50Ms)} / ${millis(one.acceptP99Ms)} ms`), ""],
      ["accepted and delivered/s, sustained", ...ones.map((one) => whole(one.deliveredPerSecond)), ratio("deliveredPerSecond")],
      ["memory of all processes", ...ones.map((one) => megabytes(one.memoryBytes)), `1 / ${(tuned.memoryBytes / tidings.memoryBytes).toFixed(1)}`],
      ["CPU per accept", ...ones.map((one) => `${whole(one.cpuMicrosPerAccept)} us`), ""],
    ]);
  });
}

function machine() {
  const report = reports.accept || Object.values(reports).find(Boolean);
  if (!report) return `Nothing was measured yet.`;
  const { machine: on, plan, version, finishedAt } = report;
  return `Tidings ${version}, ${finishedAt.slice(0, 10)}: ${on.cores} cores (${on.processor}), ${(on.memoryBytes / 2 ** 30).toFixed(0)} GiB, ` +
    `Linux ${on.kernel}, ${on.fileSystem}; fsync ${on.fsync}, one flush ${on.flushMicros} us (median). ` +
    `Each run ${plan.durationSeconds} s after ${plan.warmupSeconds} s of warm-up, ${plan.payloadBytes} bytes of payload. One run each; the comparison gives medians` +
    (reports.compare ? ` of ${reports.compare.runs}.` : ".");
}

const tables = { machine, targets, accepting, delivering, recovering, resting, comparison };
let text = fs.readFileSync(document, "utf8");
for (const [name, make] of Object.entries(tables)) {
  const between = new RegExp(`(<!-- table: ${name} -->\\n)[^]*?(<!-- end -->)`);
  if (!between.test(text)) throw new Error(`${document} has no place for the table ${name}`);
  text = text.replace(between, (_, begin, end) => `${begin}${make()}\n${end}`);
}
fs.writeFileSync(document, text);
