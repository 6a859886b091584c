-- How long each worker's leases last, so that whoever looks for leases that are too long, because the clock was set, cuts none short
-- that is as long as its worker asked for.
ALTER TABLE worker ADD COLUMN lease interval NOT NULL DEFAULT '0';
