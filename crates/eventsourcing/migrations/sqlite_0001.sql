
        CREATE TABLE outrigger_events (
            position BIGINT PRIMARY KEY,
            stream TEXT NOT NULL,
            version BIGINT NOT NULL,
            type TEXT NOT NULL,
            data TEXT,
            metadata TEXT NOT NULL,
            recorded BIGINT NOT NULL,
            UNIQUE (stream, version)
        );
        CREATE TABLE outrigger_event_head (
            only INTEGER PRIMARY KEY CHECK (only = 1),
            position BIGINT NOT NULL
        );
        INSERT INTO outrigger_event_head (only, position) VALUES (1, 0);
        CREATE TABLE outrigger_projections (
            name TEXT PRIMARY KEY,
            position BIGINT NOT NULL,
            failures BIGINT NOT NULL,
            error TEXT,
            updated BIGINT NOT NULL
        );