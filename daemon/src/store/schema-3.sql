-- Where a job waits, and what it was granted if that is not what it asked for first.
ALTER TABLE job ADD COLUMN queue TEXT NOT NULL DEFAULT 'default';
ALTER TABLE job ADD COLUMN takes TEXT;              -- JSON object, see core/event.rs
ALTER TABLE task ADD COLUMN takes TEXT;
