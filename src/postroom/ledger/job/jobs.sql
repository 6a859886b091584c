-- name: insert_job
-- The job comes into being with its count, digest and options; a small one is queued at once.
INSERT INTO job (account_id, gateway_id, status, subject, content, bodies, identity, dkim_keys, field_policy, account_fields,
                 duplicates, unusable_addresses, recipient_count, excluded_duplicates, excluded_unusable,
                 excluded_suppressed, lanes, approval_threshold, digest, message_key, queue_no, not_before, created_by,
                 created_by_person, created_by_key, moved_by, moved_by_person, moved_by_key,
                 continues, continued_class, corrects, read_as)
VALUES (%(account_id)s, %(gateway_id)s, %(status)s, %(subject)s, %(content)s::json, %(bodies)s::json, %(identity)s::json,
        %(dkim_keys)s, %(field_policy)s, %(account_fields)s::json, %(duplicates)s, %(unusable_addresses)s,
        %(recipient_count)s, %(excluded_duplicates)s, %(excluded_unusable)s, %(excluded_suppressed)s, %(lanes)s,
        %(approval_threshold)s, %(digest)s, %(message_key)s,
        CASE WHEN %(status)s = 'queued' THEN nextval('queue_number') END, %(not_before)s,
        %(by)s, %(by_person)s, %(by_key)s, %(by)s, %(by_person)s, %(by_key)s,
        %(continues)s, %(continued_class)s, %(corrects)s, %(read_as)s::json)
RETURNING id

-- name: read_as
-- How the list of a job was read, for whoever changes it.
SELECT read_as FROM job WHERE account_id = %(account_id)s AND id = %(job_id)s

-- name: lock_job
-- After the account, before the chunks: everybody locks in this order, so nobody waits in a circle. Not FOR UPDATE: whoever
-- writes a chunk twice in one transaction has its foreign key looked at again, and would wait for this with the chunk in hand.
SELECT status, digest, approved_digest FROM job
WHERE account_id = %(account_id)s AND id = %(job_id)s FOR NO KEY UPDATE

-- name: hold_status
-- A share lock: while it is held, the job cannot be ended under the one who claims a chunk of it.
SELECT status FROM job WHERE account_id = %(account_id)s AND id = %(job_id)s FOR SHARE

-- name: move_job
-- The one statement that changes a status. The queue number is drawn here, under the account's lock.
UPDATE job SET
    status = %(target)s,
    moved_by = %(by)s, moved_by_person = %(by_person)s, moved_by_key = %(by_key)s,
    reason = coalesce(%(reason)s, reason),
    approved_digest = coalesce(%(approved_digest)s, approved_digest),
    queue_no = CASE WHEN %(target)s = 'queued' THEN nextval('queue_number') ELSE queue_no END,
    started_at = CASE WHEN %(target)s = 'sending' THEN clock_timestamp() ELSE started_at END,
    ended_at = CASE WHEN %(target)s IN ('completed', 'cancelled', 'failed') THEN clock_timestamp() END
WHERE account_id = %(account_id)s AND id = %(job_id)s AND status = %(origin)s

-- name: insert_approval
-- Who approved what, and when: bound to the digest of list and content.
INSERT INTO approval (account_id, job_id, approved_by, by_person, by_key, digest)
VALUES (%(account_id)s, %(job_id)s, %(by)s, %(by_person)s, %(by_key)s, %(digest)s)

-- name: next_in_queue
-- First approved, first sent; one whose time has not come, or that is paused, lets others pass. Nothing while one is sending.
SELECT id, lanes FROM job q
WHERE account_id = %(account_id)s AND status = 'queued' AND (not_before IS NULL OR not_before <= clock_timestamp())
  AND NOT EXISTS (SELECT FROM job_condition p WHERE p.account_id = q.account_id AND p.job_id = q.id AND p.kind = 'paused')
  AND NOT EXISTS (SELECT FROM job s WHERE s.account_id = q.account_id AND s.status = 'sending')
ORDER BY queue_no LIMIT 1

-- name: fence_chunks
-- The end of a job, or its pause: no window of an older epoch can be opened after this commits. Chunks without one are free at
-- once. Locked in the order in which a heartbeat locks them, or the two would wait for one another.
WITH held AS MATERIALIZED (
    SELECT chunk_no FROM chunk WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND unsent > 0
    ORDER BY chunk_no FOR NO KEY UPDATE
)
UPDATE chunk c SET lease_epoch = lease_epoch + 1,
                   owner = CASE WHEN window_open THEN owner END,
                   lease_until = CASE WHEN window_open THEN lease_until END
FROM held
WHERE c.account_id = %(account_id)s AND c.job_id = %(job_id)s AND c.chunk_no = held.chunk_no

-- name: has_nothing_left
-- The cheap look before a completion is tried under the locks.
SELECT NOT EXISTS (SELECT FROM chunk WHERE account_id = %(account_id)s AND job_id = %(job_id)s
                   AND (unsent > 0 OR window_open)) AS nothing_left

-- name: read_one_instant
-- What several statements of this transaction read is of one instant.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY

-- name: view_job
-- Everything that people are shown of one job, its counts summed over the chunks at this instant.
SELECT * FROM job_overview j
WHERE j.account_id = %(account_id)s AND j.id = %(job_id)s

-- name: page_of_jobs
-- The history, newest first, by cursor: the hundredth page costs what the first costs.
SELECT * FROM job_overview j
WHERE j.account_id = %(account_id)s
  AND (%(status)s::text IS NULL OR j.status = %(status)s)
  AND (%(since)s::timestamptz IS NULL OR j.created_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR j.created_at < %(until)s)
  AND (%(before)s::bigint IS NULL OR j.id < %(before)s)
ORDER BY j.id DESC LIMIT %(limit)s

-- name: job_progress
-- What changes while a job is watched: read twice a second, so it touches only the job and its chunks.
SELECT j.status, j.started_at, sum(c.sent)::integer AS sent, sum(c.failed)::integer AS failed,
       sum(c.skipped)::integer AS skipped, sum(c.unconfirmed)::integer AS unconfirmed,
       sum(c.unsent)::integer AS unsent
FROM job j JOIN chunk c ON c.account_id = j.account_id AND c.job_id = j.id
WHERE j.account_id = %(account_id)s AND j.id = %(job_id)s GROUP BY j.status, j.started_at

-- name: ahead_in_queue
-- What a queued job waits for: the active one first, then those before it.
SELECT id, subject, status, started_at, recipient_count,
       (SELECT sum(c.unsent)::integer FROM chunk c WHERE c.account_id = ahead.account_id AND c.job_id = ahead.id) AS unsent,
       (SELECT w.kind FROM job_condition w WHERE w.account_id = ahead.account_id AND w.job_id = ahead.id
        AND w.kind IN ('paused', 'journal', 'gateway', 'quota') ORDER BY (w.kind = 'paused') DESC, w.until DESC LIMIT 1) AS held_up_by
FROM job ahead
WHERE account_id = %(account_id)s
  AND (status = 'sending'
       OR (status = 'queued' AND (not_before IS NULL OR not_before <= now()) AND queue_no < (SELECT queue_no FROM job me WHERE me.account_id = ahead.account_id
                                                                         AND me.id = %(job_id)s)))
ORDER BY (status = 'sending') DESC, queue_no LIMIT 100

-- name: lock_rest
-- Whoever continues a job's rest, or takes its place, does so alone. Not by the job's row: the new job's account comes before that.
SELECT pg_advisory_xact_lock(hashtextextended('rest of job ' || %(job_id)s::text, 0))

-- name: continuations
-- What sends the rest of these jobs, and of how many of theirs. Who turned out to be Sent after a person had them sent again is
-- no rest of the first job any more; they are looked for only where a person was contradicted. One that was changed took them
-- up for those that take its place, so it is the one that counts, and the newest of them the one that is named.
SELECT continues,
       (WITH RECURSIVE later AS (
            SELECT job.id
            UNION ALL
            SELECT n.id FROM later JOIN job n ON n.account_id = job.account_id AND n.corrects = later.id
            WHERE n.continues = job.continues)
        SELECT max(later.id) FROM later) AS newest, continued_class,
       recipient_count + (SELECT count(*) FROM exclusion e WHERE e.account_id = job.account_id AND e.job_id = job.id)
       - CASE WHEN EXISTS (SELECT FROM job_event v WHERE v.account_id = job.account_id AND v.job_id = job.continues
                           AND v.verb = 'contradict') THEN (
           SELECT count(DISTINCT r.position) FROM outcome again JOIN recipient r USING (account_id, job_id, position)
           WHERE again.account_id = job.account_id AND again.job_id = job.continues AND again.evidence = 'person'
             AND again.kind IN ('failed', 'released')
             AND r.row_no IN (SELECT row_no FROM recipient WHERE account_id = job.account_id AND job_id = job.id
                              UNION ALL SELECT row_no FROM exclusion WHERE account_id = job.account_id AND job_id = job.id)
             AND EXISTS (SELECT FROM outcome o WHERE o.account_id = again.account_id AND o.job_id = again.job_id
                         AND o.position = again.position AND o.kind = 'sent' AND o.evidence = 'reply')) ELSE 0 END
FROM job
WHERE account_id = %(account_id)s AND continues = ANY(%(job_ids)s::bigint[])
  AND NOT EXISTS (SELECT FROM job before WHERE before.account_id = job.account_id AND before.id = job.corrects
                  AND before.continues = job.continues)
ORDER BY id

-- name: corrections
-- Which of these jobs take the place of which one, and which one takes theirs.
SELECT id, corrects FROM job
WHERE account_id = %(account_id)s AND corrects IS NOT NULL
  AND (id = ANY(%(job_ids)s::bigint[]) OR corrects = ANY(%(job_ids)s::bigint[]))

-- name: contradictions
-- What came to light against the word of a person, of these jobs.
SELECT job_id, reason FROM job_event
WHERE account_id = %(account_id)s AND job_id = ANY(%(job_ids)s::bigint[]) AND verb = 'contradict' ORDER BY id

-- name: job_events
-- The trail of one job.
SELECT at, verb, from_status, to_status, by, reason FROM job_event
WHERE account_id = %(account_id)s AND job_id = %(job_id)s ORDER BY id

-- name: record_event
-- No move, but the trail of one: what was done with the job while its status stayed what it is.
INSERT INTO job_event (account_id, job_id, verb, from_status, to_status, by, by_person, by_key, reason)
SELECT account_id, id, %(verb)s, status, status, %(by)s, %(by_person)s, %(by_key)s, %(reason)s FROM job
WHERE account_id = %(account_id)s AND id = %(job_id)s

-- name: tests_go_on_at
-- When so many more fit into an hour: as the youngest of those that are too many beside them gets old. NULL: they fit now.
-- The reason is `record_test`'s and holds no other number. What was tried counts, whatever came of it: it was reserved before.
SELECT max(at) + interval '1 hour' FROM (
    SELECT at, sum(substring(reason FROM '[0-9]+')::integer) OVER (ORDER BY at DESC, id DESC) AS since FROM job_event
    WHERE account_id = %(account_id)s AND verb = 'test' AND at > clock_timestamp() - interval '1 hour') AS test
WHERE since + %(more)s > %(most)s

-- name: set_condition
-- Beside the status: why it does not move, since when, and when it is tried again. The first moment is kept; of many
-- lanes that meet the same trouble at once only the first counts, or the backoff would grow by the number of lanes.
INSERT INTO job_condition (account_id, job_id, kind, reason, until)
VALUES (%(account_id)s, %(job_id)s, %(kind)s, %(reason)s, clock_timestamp() + make_interval(secs => %(delay_s)s))
ON CONFLICT (account_id, job_id, kind) DO UPDATE
SET reason = excluded.reason, until = excluded.until, times = job_condition.times + 1
WHERE job_condition.until <= clock_timestamp()

-- name: condition_times
-- How often it has been tried in a row, for the backoff.
SELECT times FROM job_condition WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND kind = %(kind)s

-- name: clear_conditions
-- It moves again. A pause and an alarm are for a person to end.
DELETE FROM job_condition
WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND kind IN ('journal', 'gateway', 'quota')

-- name: remember_idempotency_key
-- In the transaction of its effect: either both are there or neither.
INSERT INTO idempotency_key (account_id, key, fingerprint, job_id)
VALUES (%(account_id)s, %(key)s, %(fingerprint)s, %(job_id)s)

-- name: recall_idempotency_key
-- The job that an earlier request with this key made.
SELECT fingerprint, job_id FROM idempotency_key WHERE account_id = %(account_id)s AND key = %(key)s

-- name: try_idempotency_lock
-- One request a key at a time; the other is told so at once instead of waiting.
SELECT pg_try_advisory_xact_lock(hashtextextended(%(account_id)s::text || ' ' || %(key)s, 0)) AS taken
