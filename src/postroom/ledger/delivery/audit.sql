-- name: try_audit_lock
-- One auditor at a time, however many workers. It goes with the transaction, which may neither think nor idle for long.
SELECT pg_try_advisory_xact_lock(7092042), set_config('idle_in_transaction_session_timeout', '10s', true),
       set_config('statement_timeout', '5s', true)

-- name: recount
-- Those due, the longest unseen first: of jobs that are sending, what somebody has claimed, every half a minute until it is
-- finished and once then ('infinity' says so); of jobs lately over, everything once more. Counters, windows and outcomes are
-- read in this one statement, so of one instant: they change together, and a window that turns meanwhile is no difference.
-- Backwards, because the index then gives each recipient's last attempt and its best evidence first, without a sort.
WITH due AS MATERIALIZED (
    SELECT c.*, j.recipient_count, j.ended_at FROM (
        SELECT account_id, id, recipient_count, NULL::timestamptz AS ended_at FROM job WHERE status = 'sending'
        UNION ALL
        SELECT account_id, id, recipient_count, ended_at FROM job WHERE ended_at > now() - interval '1 day') j
    JOIN chunk c ON c.account_id = j.account_id AND c.job_id = j.id
    WHERE CASE
        WHEN j.ended_at IS NOT NULL THEN
            NOT c.window_open AND (c.audited_at IS NULL OR c.audited_at = 'infinity' OR c.audited_at < j.ended_at)
        ELSE c.lease_epoch > 0 AND (c.audited_at IS NULL OR c.audited_at < now() - make_interval(secs => %(every_s)s)) END
    ORDER BY c.audited_at NULLS FIRST, c.account_id, c.job_id, c.chunk_no LIMIT %(chunks)s
)
SELECT d.account_id, d.job_id, d.chunk_no, d.ended_at IS NULL AND d.unsent = 0 AND NOT d.window_open AS is_finished,
       ROW(d.n, d.sent, d.failed, d.skipped, d.unconfirmed, 0) AS counted,
       ROW(l.listed, o.sent, o.failed, o.skipped, o.unconfirmed, s.strays) AS found
FROM due d
CROSS JOIN LATERAL (
    SELECT count(*) AS listed FROM recipient r WHERE r.account_id = d.account_id AND r.job_id = d.job_id
      AND r.position BETWEEN d.first_position AND d.first_position + d.n - 1) l
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE kind = 'sent') AS sent, count(*) FILTER (WHERE kind = 'failed') AS failed,
           count(*) FILTER (WHERE kind = 'skipped') AS skipped, count(*) FILTER (WHERE kind = 'unconfirmed') AS unconfirmed
    FROM (SELECT DISTINCT ON (position) kind FROM outcome o WHERE o.account_id = d.account_id AND o.job_id = d.job_id
            AND o.position BETWEEN d.first_position AND d.first_position + d.n - 1
          ORDER BY position DESC, attempt_no DESC, evidence DESC) last) o
CROSS JOIN LATERAL (
    SELECT (SELECT count(*) FROM outcome o WHERE o.account_id = d.account_id AND o.job_id = d.job_id AND o.position < 1)
         + (SELECT count(*) FROM outcome o WHERE o.account_id = d.account_id AND o.job_id = d.job_id
              AND o.position > d.recipient_count) AS strays) s

-- name: mark_audited
-- Seen. A chunk that somebody holds just now is passed over and comes again: an auditor waits for nobody.
WITH seen AS MATERIALIZED (
    SELECT c.account_id, c.job_id, c.chunk_no, s.is_finished
    FROM unnest(%(accounts)s::bigint[], %(jobs)s::bigint[], %(chunks)s::integer[], %(finished)s::boolean[])
        AS s(account_id, job_id, chunk_no, is_finished)
    JOIN chunk c USING (account_id, job_id, chunk_no)
    ORDER BY c.account_id, c.job_id, c.chunk_no FOR NO KEY UPDATE OF c SKIP LOCKED
)
UPDATE chunk c SET audited_at = CASE WHEN is_finished THEN 'infinity' ELSE clock_timestamp() END
FROM seen s WHERE c.account_id = s.account_id AND c.job_id = s.job_id AND c.chunk_no = s.chunk_no

-- name: insert_alarm
-- For ever: no work makes it go away. A row back: it is the job's first, and is told.
INSERT INTO job_condition (account_id, job_id, kind, reason, until)
VALUES (%(account_id)s, %(job_id)s, 'alarm', %(reason)s, 'infinity')
ON CONFLICT (account_id, job_id, kind) DO NOTHING RETURNING true

-- name: has_alarm
-- Whether it was told before.
SELECT EXISTS (SELECT FROM job_condition
               WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND kind = 'alarm') AS found
