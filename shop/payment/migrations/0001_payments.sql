CREATE TABLE payments (
    id             TEXT   NOT NULL PRIMARY KEY,
    order_id       TEXT   NOT NULL UNIQUE,
    user_id        TEXT   NOT NULL,
    amount         BIGINT NOT NULL, -- minor units
    currency       TEXT   NOT NULL,
    status         TEXT   NOT NULL, -- CAPTURED, DECLINED, REFUNDED
    refusal_code   TEXT,            -- of a declined one
    refusal_reason TEXT,
    created_at     BIGINT NOT NULL
);

CREATE TABLE refunds (
    payment_id TEXT   NOT NULL PRIMARY KEY REFERENCES payments (id),
    amount     BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

-- Orders that were cancelled before they were charged: a charge that comes later is refused.
CREATE TABLE withdrawals (
    order_id   TEXT   NOT NULL PRIMARY KEY,
    created_at BIGINT NOT NULL
);
