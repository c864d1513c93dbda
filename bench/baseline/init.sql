-- The tables of the stack, with all the indexes that it has.

CREATE TABLE users (
  id            UUID PRIMARY KEY DEFAULT gen_random_uuid(),
  username      VARCHAR(255) UNIQUE NOT NULL,
  email         VARCHAR(255) UNIQUE NOT NULL,
  password_hash VARCHAR(255) NOT NULL DEFAULT 'x',
  created_at    TIMESTAMPTZ DEFAULT NOW()
);

CREATE TABLE notifications (
  id                UUID PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id           UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  type              VARCHAR(50) NOT NULL,
  payload           JSONB NOT NULL,
  status            VARCHAR(50) NOT NULL DEFAULT 'pending',
  message_id        VARCHAR(255) UNIQUE,
  retries_attempted INTEGER DEFAULT 0,
  created_at        TIMESTAMPTZ DEFAULT NOW(),
  processed_at      TIMESTAMPTZ,
  error_message     VARCHAR(500)
);

CREATE INDEX notifications_by_user ON notifications (user_id);
CREATE INDEX notifications_by_status ON notifications (status);
CREATE INDEX notifications_by_message ON notifications (message_id);
CREATE INDEX notifications_by_user_and_status ON notifications (user_id, status);
CREATE INDEX notifications_by_age ON notifications (created_at DESC);

INSERT INTO users (id, username, email) VALUES ('9fc81fdd-fc9c-49e3-9df1-a36df7e1ec5a', 'testuser', 'test@example.com');
