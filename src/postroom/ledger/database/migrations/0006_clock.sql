-- The database's clock may be set, and nobody may be at work for a while: neither is time that somebody was given.

-- When a worker last looked at the clock, to within a few seconds.
ALTER TABLE installation ADD COLUMN seen_at timestamptz NOT NULL DEFAULT clock_timestamp();

-- Times in which no worker looked, or that the clock skipped. They count against nobody's patience.
CREATE TABLE clock_gap (
    since  timestamptz PRIMARY KEY,
    until  timestamptz NOT NULL,
    CONSTRAINT a_gap_has_a_length CHECK (until > since)
);

-- Now, or a little after the last look where that is longer ago: before a gap is noticed it must not end anybody's patience.
CREATE FUNCTION trusted_now() RETURNS timestamptz LANGUAGE sql AS $$
    SELECT least(clock_timestamp(), seen_at + interval '15 s') FROM installation
$$;

-- From when patience counts for somebody who needed it first at that moment: all gaps since then are passed over.
CREATE FUNCTION patient_since(moment timestamptz) RETURNS timestamptz LANGUAGE sql AS $$
    SELECT least(clock_timestamp(), moment + coalesce(sum(until - greatest(since, moment)), interval '0'))
    FROM clock_gap WHERE until > moment
$$;
