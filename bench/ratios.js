// Sets the reports of bench/compare against each other: medians, ratios, and the table.
//
//   node ratios.js FOLDER RUNS [JSON]
"use strict";

const fs = require("fs");
const path = require("path");

// What others were measured at on a machine with 2 cores that also ran the load. They are not measured again here, so
// these ratios hold only on a machine like that one.
const STATED = { svixWebhooksPerSecond: 930, seedTunedAccepts: 2300, seedTunedDelivered: 1660 };

const [folder, runs, json] = process.argv.slice(2);

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

function reports(name) {
  const numbers = Array.from({ length: Number(runs) }, (_, index) => index + 1);
  return numbers.map((run) => JSON.parse(fs.readFileSync(path.join(folder, `${name}-${run}.json`), "utf8")));
}

function of(who) {
  const [accept, deliver] = [reports(`${who}-accept`), reports(`${who}-deliver`)];
  const each = (list, pick) => median(list.map(pick));
  return {
    acceptsPerSecond: each(accept, (report) => report.accept.perSecond),
    acceptP50Ms: each(accept, (report) => report.accept.latencyMs.p50),
    acceptP99Ms: each(accept, (report) => report.accept.latencyMs.p99),
    deliveredPerSecond: each(deliver, (report) => report.deliver.perSecond),
    memoryBytes: each(accept, (report) => report.server.proportionalBytes),
    cpuMicrosPerAccept: each(accept, (report) => report.server.cpuMicrosPerNotification),
    writtenBytesPerAccept: each(accept, (report) => report.server.writtenBytesPerNotification),
  };
}

const [faithful, tuned, tidings] = [of("faithful"), of("tuned"), of("tidings")];
tidings.webhooksPerSecond = median(reports("tidings-webhook").map((report) => report.deliver.perSecond));
const { machine, version, plan, finishedAt } = reports("tidings-accept")[0];

const ratios = {
  acceptsOverTuned: tidings.acceptsPerSecond / tuned.acceptsPerSecond,
  deliveredOverTuned: tidings.deliveredPerSecond / tuned.deliveredPerSecond,
  acceptsOverFaithful: tidings.acceptsPerSecond / faithful.acceptsPerSecond,
  deliveredOverFaithful: tidings.deliveredPerSecond / faithful.deliveredPerSecond,
  webhooksOverSvixStated: tidings.webhooksPerSecond / STATED.svixWebhooksPerSecond,
  memoryOfTunedOverTidings: tuned.memoryBytes / tidings.memoryBytes,
};

const whole = (number) => (number === undefined ? "-" : Math.round(number).toLocaleString("en").replaceAll(",", " "));
const tenth = (number) => (number === undefined ? "-" : number.toFixed(1));
const megabytes = (bytes) => `${whole(bytes / 1e6)} MB`;
const times = (ratio) => `${ratio.toFixed(1)}x`;

const rows = [
  ["", "faithful", "tuned", "Tidings", "Tidings / tuned", "floor", "aim"],
  ["durable accepts/s", whole(faithful.acceptsPerSecond), whole(tuned.acceptsPerSecond),
    whole(tidings.acceptsPerSecond), times(ratios.acceptsOverTuned), "10x", "20x"],
  ["accept p50 / p99, ms", ...[faithful, tuned, tidings].map((one) => `${tenth(one.acceptP50Ms)} / ${tenth(one.acceptP99Ms)}`), "", "", ""],
  ["accepted and delivered/s", whole(faithful.deliveredPerSecond), whole(tuned.deliveredPerSecond),
    whole(tidings.deliveredPerSecond), times(ratios.deliveredOverTuned), "6x", "15x"],
  ["webhooks/s, 256 at once (Svix: stated)", "", whole(STATED.svixWebhooksPerSecond), whole(tidings.webhooksPerSecond),
    times(ratios.webhooksOverSvixStated), "10x", "20x"],
  ["memory", megabytes(faithful.memoryBytes), megabytes(tuned.memoryBytes), megabytes(tidings.memoryBytes),
    `1 / ${times(ratios.memoryOfTunedOverTidings).slice(0, -1)}`, "150 MB", "60 MB"],
  ["CPU per accept, us", ...[faithful, tuned, tidings].map((one) => whole(one.cpuMicrosPerAccept)), "", "", ""],
  ["written per accept, bytes", ...[faithful, tuned, tidings].map((one) => whole(one.writtenBytesPerAccept)), "", "", ""],
];

const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
const line = (row) => row.map((cell, column) => (column ? cell.padStart(widths[column]) : cell.padEnd(widths[column]))).join("   ");
console.log(`\n${rows.map(line).join("\n")}\n`);
console.log(`${runs} runs each, medians; ${plan.connections} connections, ${plan.durationSeconds} s, ${plan.payloadBytes} bytes of payload;`);
console.log(`${machine.cores} cores, ${machine.processor}, Linux ${machine.kernel}, ${machine.fileSystem}, one flush ${machine.flushMicros} us`);

if (json) {
  const result = { benchmark: "compare", version, finishedAt, runs: Number(runs), machine, plan, faithful, tuned, tidings, stated: STATED, ratios };
  fs.writeFileSync(json, `${JSON.stringify(result, null, 2)}\n`);
}
