-- What a job asked for beyond the columns that lists look at, and what it says of itself.
ALTER TABLE job ADD COLUMN labels TEXT;             -- JSON object of texts
ALTER TABLE job ADD COLUMN options TEXT;            -- JSON object, see store/options.rs
ALTER TABLE job ADD COLUMN script TEXT;             -- run instead of the command's first word
ALTER TABLE job ADD COLUMN progress INTEGER;        -- millionths
ALTER TABLE job ADD COLUMN progress_message TEXT;
ALTER TABLE task ADD COLUMN progress INTEGER;
ALTER TABLE task ADD COLUMN progress_message TEXT;
-- Those that go, without a look at the others.
CREATE INDEX environment_unused ON environment (id) WHERE jobs <= 0;
