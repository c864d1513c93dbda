// The delivering half: each message becomes a row in a transaction of its own, then it is acknowledged. What fails is put
// back into the queue, and after a few tries into that of the dead letters.
"use strict";

const http = require("http");
const amqp = require("amqplib");
const { Pool } = require("pg");
const { settings, declareQueues, logger } = require("./settings");

const log = logger("worker");
const INSERT = `INSERT INTO notifications (user_id, type, payload, status, message_id, retries_attempted, processed_at)
  VALUES ($1, $2, $3, 'processed', $4, $5, NOW())`;

let committed = 0;
const attempts = new Map();

async function store(pool, message) {
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    const known = await client.query("SELECT id FROM notifications WHERE message_id = $1", [message.messageId]);
    if (known.rows.length === 0) {
      const retries = attempts.get(message.messageId) || 0;
      const payload = JSON.stringify(message.payload);
      await client.query(INSERT, [message.targetUserId, message.type, payload, message.messageId, retries]);
    }
    await client.query("COMMIT");
    committed += known.rows.length === 0 ? 1 : 0;
  } catch (error) {
    await client.query("ROLLBACK").catch(() => {});
    throw error;
  } finally {
    client.release();
  }
}

async function main() {
  const connection = await amqp.connect(settings.rabbitmqUrl);
  const channel = await connection.createChannel();
  await declareQueues(channel);
  await channel.prefetch(settings.prefetch);
  const clients = Math.max(10, Math.min(settings.prefetch, 20));
  const pool = new Pool({ connectionString: settings.databaseUrl, max: clients });

  await channel.consume(settings.queue, async (delivery) => {
    if (!delivery) return;
    let message;
    try {
      message = JSON.parse(delivery.content.toString());
    } catch (error) {
      channel.nack(delivery, false, false);
      return;
    }
    const { messageId, targetUserId: userId } = message;
    try {
      await store(pool, message);
      attempts.delete(messageId);
      channel.ack(delivery);
      log.info("Notification processed", { messageId, userId });
    } catch (error) {
      const attempt = (attempts.get(messageId) || 0) + 1;
      attempts.set(messageId, attempt);
      log.warn("Notification not processed", { messageId, attempt, error: error.message });
      channel.nack(delivery, false, attempt < settings.maxRetries);
    }
  });

  // Not part of the stack that people run: how the measurement knows what has been committed.
  http
    .createServer((request, response) => {
      const text = `notifications_delivered_total ${committed}\n`;
      response.writeHead(200, { "Content-Type": "text/plain", "Content-Length": Buffer.byteLength(text) });
      response.end(text);
    })
    .listen(settings.metricsPort, "127.0.0.1");
  log.info("Working");
}

main().catch((error) => {
  log.error("Not started", { error: error.message });
  process.exit(1);
});
