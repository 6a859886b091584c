-- A fail-over to a standby that had not received everything loses the newest commits. Whoever heard of them is asked.

-- Which server this is, on which of its timelines (a promoted standby begins a new one), and since when it runs.
CREATE FUNCTION server_timeline() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    running text := extract(epoch FROM pg_postmaster_start_time());
BEGIN
    RETURN (SELECT system_identifier FROM pg_control_system())
           || '/' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) || '/' || running;
EXCEPTION WHEN OTHERS THEN
    RETURN '//' || running;  -- a service that does not tell
END $$;

-- On which all workers have found what they knew of; until then no chunk is given out. NULL: no worker was ever there.
ALTER TABLE installation ADD COLUMN timeline text;

-- Every worker that has not ended properly, and on which timeline it last found all that it knew of.
CREATE TABLE worker (
    owner           text PRIMARY KEY,
    timeline        text NOT NULL,
    is_synchronous  boolean NOT NULL,  -- whether its commits waited for a standby then
    seen_at         timestamptz NOT NULL DEFAULT clock_timestamp()
);
