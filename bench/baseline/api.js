// The accepting half: a token is checked, the message goes to a durable queue, and when the broker has confirmed it the
// caller gets 202.
"use strict";

const { createSecretKey } = require("crypto");
const amqp = require("amqplib");
const express = require("express");
const jwt = require("jsonwebtoken");
const { Pool } = require("pg");
const { v4: uuid } = require("uuid");
const { settings, declareQueues, logger } = require("./settings");

const log = logger("api");
const key = settings.isTuned ? createSecretKey(Buffer.from(settings.jwtSecret)) : settings.jwtSecret;

function authenticate(request, response, next) {
  const header = request.headers.authorization;
  try {
    if (!header || !header.startsWith("Bearer ")) throw new Error("no token");
    request.user = jwt.verify(header.slice("Bearer ".length), key);
  } catch (error) {
    response.status(401).json({ error: "Unauthorized", message: "Missing or invalid authorization token" });
    return;
  }
  next();
}

function complaint({ targetUserId, type, payload }) {
  if (!targetUserId || !type || !payload) return "Missing required fields: targetUserId, type, payload";
  if (typeof payload !== "object" || Array.isArray(payload)) return "Payload must be a JSON object";
  return null;
}

async function main() {
  const connection = await amqp.connect(settings.rabbitmqUrl);
  const channel = await connection.createConfirmChannel();
  await declareQueues(channel);
  const pool = new Pool({ connectionString: settings.databaseUrl, max: 5 });

  const publish = (message) =>
    new Promise((resolve, reject) => {
      const options = { persistent: true, contentType: "application/json" };
      const confirmed = (error) => (error ? reject(error) : resolve());
      channel.sendToQueue(settings.queue, Buffer.from(JSON.stringify(message)), options, confirmed);
    });

  const app = express();
  app.use(express.json());

  app.post("/api/notifications", authenticate, async (request, response) => {
    const body = request.body || {};
    const wrong = complaint(body);
    if (wrong) {
      response.status(400).json({ error: "Bad Request", message: wrong });
      return;
    }
    const messageId = uuid();
    const { targetUserId, type, payload } = body;
    try {
      await publish({ messageId, targetUserId, type, payload, timestamp: new Date().toISOString() });
    } catch (error) {
      log.error("Notification not published", { error: error.message });
      response.status(500).json({ error: "Internal Server Error", message: "Failed to process notification" });
      return;
    }
    log.info("Notification published", { messageId, userId: targetUserId, type });
    response.status(202).json({ messageId, status: "queued", message: "Notification accepted for processing" });
  });

  app.get("/health", async (request, response) => {
    try {
      await pool.query("SELECT 1");
      response.json({ status: "healthy", timestamp: new Date().toISOString() });
    } catch (error) {
      response.status(503).json({ status: "unhealthy" });
    }
  });

  app.get("/ready", (request, response) => response.json({ status: "ready" }));
  app.listen(settings.apiPort, "127.0.0.1", () => log.info("Listening", { port: settings.apiPort }));
}

main().catch((error) => {
  log.error("Not started", { error: error.message });
  process.exit(1);
});
