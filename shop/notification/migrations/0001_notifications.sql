CREATE TABLE notifications (
    id         TEXT   NOT NULL PRIMARY KEY, -- what it tells of, so that it is told once
    user_id    TEXT   NOT NULL,
    email      TEXT   NOT NULL,
    about      TEXT   NOT NULL,
    subject    TEXT   NOT NULL,
    body       TEXT   NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE INDEX notifications_newest ON notifications (user_id, created_at, id);
