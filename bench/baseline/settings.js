// What both halves share: where things are, how the queues are declared, how lines are logged.
"use strict";

const winston = require("winston");

const env = (name, otherwise) => process.env[name] || otherwise;

exports.settings = {
  databaseUrl: env("DATABASE_URL", "postgres://bench@127.0.0.1:5432/bench"),
  rabbitmqUrl: env("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672"),
  apiPort: Number(env("API_PORT", "8081")),
  metricsPort: Number(env("METRICS_PORT", "8082")),
  jwtSecret: env("JWT_SECRET", "secret"),
  queue: env("QUEUE_NAME", "notifications_queue"),
  deadLetters: env("DLQ_NAME", "notifications_dlq"),
  maxRetries: Number(env("MAX_RETRIES", "3")),
  prefetch: Number(env("PREFETCH", "10")),
  // A string as secret makes jsonwebtoken 9 parse it anew for every request, which costs it half of its rate. "Tuned"
  // hands it a key instead.
  isTuned: env("TUNED", "0") === "1",
};

exports.declareQueues = async (channel) => {
  const { queue, deadLetters } = exports.settings;
  await channel.assertQueue(deadLetters, { durable: true });
  await channel.assertQueue(queue, {
    durable: true,
    deadLetterExchange: "",
    deadLetterRoutingKey: deadLetters,
  });
};

exports.logger = (service) =>
  winston.createLogger({
    level: env("LOG_LEVEL", "info"),
    defaultMeta: { service },
    format: winston.format.combine(winston.format.timestamp(), winston.format.json()),
    transports: [new winston.transports.Console()],
  });
