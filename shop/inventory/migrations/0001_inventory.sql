CREATE TABLE products (
    id         TEXT   NOT NULL PRIMARY KEY,
    name       TEXT   NOT NULL,
    price      BIGINT NOT NULL, -- minor units
    currency   TEXT   NOT NULL,
    on_hand    BIGINT NOT NULL CHECK (on_hand >= 0),
    reserved   BIGINT NOT NULL CHECK (reserved >= 0),
    sold       BIGINT NOT NULL,
    received   BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE INDEX products_newest ON products (created_at, id);

-- One row for each order that ever asked, also for one that was cancelled before it could.
CREATE TABLE reservations (
    order_id TEXT NOT NULL PRIMARY KEY,
    state    TEXT NOT NULL -- held, sold, released
);

CREATE TABLE reservation_items (
    order_id   TEXT   NOT NULL REFERENCES reservations (order_id),
    product_id TEXT   NOT NULL REFERENCES products (id),
    quantity   BIGINT NOT NULL,
    PRIMARY KEY (order_id, product_id)
);
