-- The events of an order are the truth (eventsourcing); these tables commit with them.
CREATE TABLE orders (
    id         TEXT   NOT NULL PRIMARY KEY,
    user_id    TEXT   NOT NULL,
    status     TEXT   NOT NULL, -- PENDING, CONFIRMED, CANCELLED
    total      BIGINT NOT NULL, -- minor units
    currency   TEXT   NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE order_items (
    order_id   TEXT   NOT NULL REFERENCES orders (id),
    position   BIGINT NOT NULL,
    product_id TEXT   NOT NULL,
    quantity   BIGINT NOT NULL,
    price      BIGINT NOT NULL,
    PRIMARY KEY (order_id, position)
);

-- Low stock asks for the pending orders of a product. There are few pending orders at any time, and in the
-- long run many of a product: so it goes through the pending ones.
CREATE INDEX orders_pending ON orders (id) WHERE status = 'PENDING';

-- What is known here of those who ordered; the higher version is the newer.
CREATE TABLE customers (
    user_id TEXT   NOT NULL PRIMARY KEY,
    email   TEXT   NOT NULL,
    name    TEXT   NOT NULL,
    version BIGINT NOT NULL
);

-- A projection: made from the events alone, and may be made anew.
CREATE TABLE order_history (
    order_id   TEXT   NOT NULL PRIMARY KEY,
    user_id    TEXT   NOT NULL,
    status     TEXT   NOT NULL,
    total      BIGINT NOT NULL,
    currency   TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE INDEX order_history_newest ON order_history (user_id, created_at, order_id);
