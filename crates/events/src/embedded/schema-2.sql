-- The bus delivers, and keeps nothing of retries and dead letters: services do. What waited or was dead is delivered
-- once more, and taken over.
DROP INDEX deliveries_dead;
UPDATE deliveries SET state = 0 WHERE state IN (2, 3);
ALTER TABLE deliveries DROP COLUMN since;
ALTER TABLE deliveries DROP COLUMN error;
