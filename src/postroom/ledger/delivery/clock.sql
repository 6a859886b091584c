-- name: look
-- Written down every few seconds only, so that idle workers write little. Of several workers one has the row.
UPDATE installation i SET seen_at = now
FROM (SELECT clock_timestamp() AS now) clock, (SELECT seen_at FROM installation) before
WHERE now - i.seen_at NOT BETWEEN '-1 s' AND %(every_s)s::double precision * interval '1 s'
RETURNING before.seen_at, now

-- name: hold_chunks
-- Those of all retries, in the order in which everybody locks them.
SELECT FROM chunk c WHERE EXISTS (
    SELECT FROM retry r WHERE r.account_id = c.account_id AND r.job_id = c.job_id AND r.chunk_no = c.chunk_no)
ORDER BY account_id, job_id, chunk_no FOR NO KEY UPDATE

-- name: insert_gap
-- A time that counts against nobody. The oldest go by their number: by a clock that was just set, all of them may seem to be old.
WITH old AS (DELETE FROM clock_gap WHERE since < (SELECT since FROM clock_gap ORDER BY since DESC OFFSET 1000 LIMIT 1))
INSERT INTO clock_gap (since, until) VALUES (%(since)s, %(until)s)

-- name: skip_in_retries
-- Who waits already was given that much more; one that is refused again asks patient_since().
UPDATE retry r SET since = r.since + (gap.until - greatest(r.since, gap.since))
FROM (SELECT %(since)s::timestamptz AS since, %(until)s::timestamptz AS until) gap WHERE r.since < gap.until

-- name: skip_in_conditions
-- A gateway that is waited for, and a tail: both end something when they have lasted for long enough.
UPDATE job_condition c SET since = c.since + more, until = CASE kind WHEN 'retries' THEN c.until + more ELSE c.until END
FROM (SELECT %(since)s::timestamptz AS since, %(until)s::timestamptz AS until) gap,
     LATERAL (SELECT account_id, job_id, kind AS of, gap.until - greatest(o.since, gap.since) AS more FROM job_condition o
              WHERE o.since < gap.until AND o.kind IN ('gateway', 'retries')) given
WHERE c.account_id = given.account_id AND c.job_id = given.job_id AND c.kind = given.of

-- name: forget_gaps
-- The clock was set back to where they are still to come: so that was the mistake, and not the time before. One that it stands in
-- the middle of was too long, and ends here.
WITH cut AS (UPDATE clock_gap SET until = %(now)s WHERE until > %(now)s AND since < %(now)s - interval '15 s')
DELETE FROM clock_gap WHERE until > %(now)s AND since >= %(now)s - interval '15 s'

-- name: bound
-- Nothing waits for longer than the longest wait there is, whatever the clock was when that was written. What it rests on in jobs
-- that are being sent, and in what they share; chunks in the order in which everybody locks them.
WITH step AS MATERIALIZED (
    SELECT clock_timestamp() AS now, clock_timestamp() + %(longest)s::interval AS wait_end,
           clock_timestamp() + greatest(%(lease)s::interval, (SELECT max(lease) FROM worker)) AS lease_end
), held AS MATERIALIZED (
    SELECT c.account_id, c.job_id, c.chunk_no FROM step, job j JOIN chunk c ON c.account_id = j.account_id AND c.job_id = j.id
    WHERE j.status = 'sending'
      AND (c.lease_until > lease_end OR c.available_at > wait_end OR (c.audited_at > now AND isfinite(c.audited_at)))
    ORDER BY c.account_id, c.job_id, c.chunk_no FOR NO KEY UPDATE OF c
), chunks AS (
    UPDATE chunk c SET lease_until = least(lease_until, lease_end),
                       available_at = CASE WHEN available_at > wait_end THEN now ELSE available_at END,
                       audited_at = CASE WHEN isfinite(audited_at) THEN least(audited_at, now) ELSE audited_at END
    FROM held, step WHERE c.account_id = held.account_id AND c.job_id = held.job_id AND c.chunk_no = held.chunk_no
), retries AS (
    UPDATE retry r SET not_before = CASE WHEN r.not_before > wait_end THEN now ELSE r.not_before END, since = least(r.since, now)
    FROM job j, step WHERE j.status = 'sending' AND r.account_id = j.account_id AND r.job_id = j.id
      AND (r.not_before > wait_end OR r.since > now)
), conditions AS (
    UPDATE job_condition SET since = least(since, now), until = CASE
        WHEN kind = 'retries' AND since > now THEN now + (until - since)
        WHEN kind IN ('gateway', 'journal') THEN least(until, wait_end) WHEN kind = 'quota' THEN least(until, now + interval '1 day')
        ELSE until END
    FROM step WHERE since > now OR (kind IN ('gateway', 'journal') AND until > wait_end)
                 OR (kind = 'quota' AND until > now + interval '1 day')
), slots AS (
    UPDATE gateway_session SET until = lease_end FROM step WHERE until > lease_end
), checks AS (
    UPDATE preflight SET lease_until = now FROM step WHERE findings IS NULL AND lease_until > wait_end
)
UPDATE gateway_pace SET refilled_at = least(refilled_at, now), slowed_at = least(slowed_at, now),
                        connections_at = least(connections_at, now)
FROM step WHERE refilled_at > now OR slowed_at > now OR connections_at > now

-- name: record
-- In the trail of every active job.
INSERT INTO job_event (account_id, job_id, verb, from_status, to_status, by, reason)
SELECT account_id, id, 'clock', status, status, 'postroom', %(reason)s FROM job WHERE status = 'sending'
