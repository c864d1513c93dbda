-- Idempotency keys that are no longer held in memory, in runs: each is written once, in the order of its keys, and deleted as a
-- whole when its last key has expired. The filter (a Bloom filter) tells in memory that a key is not in the run; an empty one
-- tells nothing.
CREATE TABLE key_runs (
    run        INTEGER PRIMARY KEY,
    expires_at INTEGER NOT NULL,
    filter     BLOB NOT NULL
);
CREATE TABLE run_keys (
    run        INTEGER NOT NULL,
    key        BLOB NOT NULL,
    body       BLOB NOT NULL,
    id         INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (run, key)
) WITHOUT ROWID;

INSERT INTO run_keys (run, key, body, id, expires_at) SELECT 1, key, body, id, expires_at FROM old_keys;
INSERT INTO key_runs (run, expires_at, filter) SELECT 1, max(expires_at), x'' FROM run_keys HAVING count(*) > 0;
DROP TABLE old_keys;
