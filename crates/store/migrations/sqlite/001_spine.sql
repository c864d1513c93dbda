-- The embedded store. What decides its speed: rows are appended in the order of time, and the accepting path has no index
-- over random keys, because each of those would dirty a page of its own.

-- Facts about this store: its identity.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE tenants (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
);
INSERT INTO tenants (id, name, created_at) VALUES (1, 'default', 0);

CREATE TABLE users (
    row           INTEGER PRIMARY KEY,
    tenant_id     INTEGER NOT NULL,
    id            BLOB NOT NULL,
    username      TEXT NOT NULL,
    email         TEXT COLLATE NOCASE,
    phone         TEXT,
    webhook_url   TEXT,
    locale        TEXT,
    time_zone     TEXT,
    password_hash TEXT,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    UNIQUE (tenant_id, id),
    UNIQUE (tenant_id, username),
    UNIQUE (tenant_id, email)
);

-- Users that were deleted and whose content is not wholly erased yet; upto is the last notification dealt with.
CREATE TABLE erasures (
    tenant_id    INTEGER NOT NULL,
    user_id      BLOB NOT NULL,
    requested_at INTEGER NOT NULL,
    upto         INTEGER NOT NULL DEFAULT -1,
    PRIMARY KEY (tenant_id, user_id)
) WITHOUT ROWID;

-- Short names for (tenant, destination).
CREATE TABLE queues (
    id          INTEGER PRIMARY KEY,
    tenant_id   INTEGER NOT NULL,
    destination TEXT NOT NULL,
    UNIQUE (tenant_id, destination)
);

-- The record of a delivery. Small, because it is rewritten when the delivery ends; what was told is in contents.
CREATE TABLE notifications (
    id             INTEGER PRIMARY KEY,
    request_id     INTEGER NOT NULL,
    tenant_id      INTEGER NOT NULL,
    user_id        BLOB,
    channel        TEXT NOT NULL,
    category       TEXT NOT NULL,
    priority       INTEGER NOT NULL,
    queue_id       INTEGER NOT NULL,
    correlation_id TEXT NOT NULL,
    traceparent    TEXT,
    accepted_at    INTEGER NOT NULL,
    expires_at     INTEGER,
    redrive_of     INTEGER,
    redrives       INTEGER NOT NULL DEFAULT 0,
    state          TEXT NOT NULL DEFAULT 'queued',
    due_at         INTEGER NOT NULL,
    chunk          INTEGER NOT NULL,
    attempts       INTEGER NOT NULL DEFAULT 0,
    entries        INTEGER NOT NULL DEFAULT 1,
    finished_at    INTEGER,
    read_at        INTEGER,
    inbox_number   INTEGER,
    error          TEXT
);
-- For lists of tenants that share an installation; the default tenant walks the table itself.
CREATE INDEX notifications_by_tenant ON notifications (tenant_id, id) WHERE tenant_id <> 1;
-- By user within chunks of consecutive notifications, so that only the small part of the current chunk is written to.
CREATE INDEX notifications_by_user ON notifications (chunk, tenant_id, user_id, id) WHERE user_id IS NOT NULL;

-- What was told. Erased with its user.
CREATE TABLE contents (
    id       INTEGER PRIMARY KEY,
    payload  TEXT NOT NULL,
    metadata TEXT
);

-- What waits. A lane is (queue_id, priority).
CREATE TABLE jobs (
    queue_id    INTEGER NOT NULL,
    priority    INTEGER NOT NULL,
    due_at      INTEGER NOT NULL,
    id          INTEGER NOT NULL,
    fence       INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    lost_leases INTEGER NOT NULL,
    PRIMARY KEY (queue_id, priority, due_at, id)
) WITHOUT ROWID;

-- What is being worked on: the durable intent of an attempt.
CREATE TABLE leases (
    id          INTEGER PRIMARY KEY,
    fence       INTEGER NOT NULL,
    owner       BLOB NOT NULL,
    until       INTEGER NOT NULL,
    queue_id    INTEGER NOT NULL,
    priority    INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    lost_leases INTEGER NOT NULL
);

CREATE TABLE journal (
    id      INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    event   TEXT NOT NULL,
    attempt TEXT,
    detail  TEXT,
    PRIMARY KEY (id, number)
) WITHOUT ROWID;

-- Idempotency keys in the order of their use; the look-up is in memory. The oldest move to a b-tree when there are many.
CREATE TABLE keys (
    number     INTEGER PRIMARY KEY,
    key        BLOB NOT NULL,
    body       BLOB NOT NULL,
    id         INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
);
CREATE TABLE old_keys (
    key        BLOB PRIMARY KEY,
    body       BLOB NOT NULL,
    id         INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX old_keys_by_expiry ON old_keys (expires_at);

CREATE TABLE streams (
    id        INTEGER PRIMARY KEY,
    tenant_id INTEGER NOT NULL,
    name      TEXT NOT NULL,
    last      INTEGER NOT NULL,
    unread    INTEGER NOT NULL,
    UNIQUE (tenant_id, name)
);
CREATE TABLE entries (
    stream_id       INTEGER NOT NULL,
    number          INTEGER NOT NULL,
    notification_id INTEGER NOT NULL,
    at              INTEGER NOT NULL,
    delivered_at    INTEGER,
    read_at         INTEGER,
    PRIMARY KEY (stream_id, number)
) WITHOUT ROWID;

CREATE TABLE dead_letters (
    id              INTEGER PRIMARY KEY,
    tenant_id       INTEGER NOT NULL,
    died_at         INTEGER NOT NULL,
    review_status   TEXT NOT NULL DEFAULT 'pending',
    note            TEXT,
    next_redrive_at INTEGER,
    redriven_as     INTEGER
);
CREATE INDEX dead_letters_by_tenant ON dead_letters (tenant_id, id);
CREATE INDEX dead_letters_pending ON dead_letters (died_at) WHERE review_status = 'pending';
CREATE INDEX dead_letters_due ON dead_letters (next_redrive_at) WHERE next_redrive_at IS NOT NULL;
