-- Up to which number every entry of a stream is delivered, and read: a receipt begins after it and not at the first entry.
ALTER TABLE streams ADD COLUMN delivered_to INTEGER NOT NULL DEFAULT 0;
ALTER TABLE streams ADD COLUMN read_to INTEGER NOT NULL DEFAULT 0;
