-- name: beat
-- Counts on and tells where it stands. Whoever kept a number that this does not exceed has seen more than this database has.
UPDATE installation SET beat = beat + 1 RETURNING id, beat

-- name: look
-- Where it stands now, without counting on.
SELECT id, beat FROM installation

-- name: raise_to
-- Above all that was seen before the database was restored, so that this is said once and not for ever.
UPDATE installation SET beat = %(beat)s WHERE beat < %(beat)s

-- name: jobs_that_may_send
-- Everything that is not over. Nobody can say of any of it what was sent since the backup.
SELECT account_id, id FROM job WHERE status IN ('pending_approval', 'queued', 'sending') ORDER BY account_id, id
