-- name: index_listing
-- The list of a small job is read a few hundred rows at a time, by position.
CREATE INDEX listing_position ON listing (position)

-- name: allow_to_think
-- While a small job is looked at, its transaction stands still for longer than ours do elsewhere. It holds no lock yet.
SET LOCAL idle_in_transaction_session_timeout = '120s'

-- name: think_no_more
-- From here on it takes locks: the connection's own limit again.
SET LOCAL idle_in_transaction_session_timeout TO DEFAULT

-- name: rows_of_listing
-- The list of a job that does not exist yet, a few at a time: whom it would send to.
SELECT position, address, fields::text AS fields FROM listing
WHERE position > %(after)s AND booked IS NULL ORDER BY position LIMIT %(limit)s

-- name: some_fields_of_listing
-- What columns the list of a job has that does not exist yet: any rows show it, so they are in no order.
SELECT fields::text AS fields FROM listing LIMIT 100

-- name: plan_preflight
-- What the workers will look at: each chunk once. In the transaction that creates the job.
INSERT INTO preflight (account_id, job_id, chunk_no, n) SELECT %(account_id)s, %(job_id)s, chunk_no, n FROM deal

-- name: record_whole
-- What was found of the message as a whole; for a small job, all that was found. It is never "to do".
INSERT INTO preflight (account_id, job_id, chunk_no, n, findings, refuses, checked_at)
VALUES (%(account_id)s, %(job_id)s, -1, %(n)s, %(findings)s::json, %(refuses)s, clock_timestamp())

-- name: claim_to_check
-- One chunk that nobody looks at now. Its worker may be gone: then the lease ends, and looking twice does no harm.
WITH candidate AS (
    SELECT p.chunk_no FROM preflight p JOIN job j ON j.account_id = p.account_id AND j.id = p.job_id
    WHERE p.account_id = %(account_id)s AND p.job_id = %(job_id)s AND p.findings IS NULL AND j.status = 'pending_approval'
      AND (p.lease_until IS NULL OR p.lease_until < clock_timestamp())
    ORDER BY p.chunk_no LIMIT 1 FOR UPDATE OF p SKIP LOCKED
)
UPDATE preflight p SET lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
FROM candidate
WHERE p.account_id = %(account_id)s AND p.job_id = %(job_id)s AND p.chunk_no = candidate.chunk_no
RETURNING p.chunk_no

-- name: rows_of_chunk
-- Whom the chunk would send to.
SELECT r.position, r.address, r.fields::text AS fields
FROM chunk c JOIN recipient r ON r.account_id = c.account_id AND r.job_id = c.job_id
    AND r.position BETWEEN c.first_position AND c.first_position + c.n - 1
WHERE c.account_id = %(account_id)s AND c.job_id = %(job_id)s AND c.chunk_no = %(chunk_no)s AND r.booked IS NULL
ORDER BY r.position

-- name: record_chunk
-- The first look stands.
UPDATE preflight SET findings = %(findings)s::json, refuses = %(refuses)s, checked_at = clock_timestamp(), lease_until = NULL
WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND chunk_no = %(chunk_no)s AND findings IS NULL

-- name: end_preflight
-- A template that takes too long refuses the job: nobody else is looked at.
UPDATE preflight SET findings = '{}', checked_at = clock_timestamp(), lease_until = NULL
WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND findings IS NULL

-- name: preflight_rows
-- All looks of a job, the whole message first.
SELECT n, findings::text AS findings FROM preflight
WHERE account_id = %(account_id)s AND job_id = %(job_id)s ORDER BY chunk_no

-- name: jobs_to_check
-- For the sweep: jobs that wait for the pre-flight, with how many chunks nobody looks at.
SELECT p.account_id, p.job_id, count(*)::integer AS chunks
FROM preflight p JOIN job j ON j.account_id = p.account_id AND j.id = p.job_id
WHERE p.findings IS NULL AND j.status = 'pending_approval'
  AND (p.lease_until IS NULL OR p.lease_until < clock_timestamp())
GROUP BY p.account_id, p.job_id
