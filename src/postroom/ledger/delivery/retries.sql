-- name: forget_tails
-- A job that waits for its gateway or a person is not near its end; and one that is over needs no reminder.
DELETE FROM job_condition t USING job j
WHERE t.kind = 'retries' AND j.account_id = t.account_id AND j.id = t.job_id
  AND (j.status <> 'sending' OR EXISTS (
      SELECT FROM job_condition w WHERE w.account_id = t.account_id AND w.job_id = t.job_id
        AND w.kind IN ('paused', 'journal', 'gateway', 'quota')))

-- name: has_few_left
-- Whether everybody had a turn and at most ten are left, fewer than were sent; and whether others were accepted after each of
-- those was refused.
SELECT bool_and(unsent = 0 OR next_position >= first_position + n) AND sum(unsent) <= 10 AND sum(unsent) < sum(sent),
       NOT EXISTS (
           SELECT FROM retry r WHERE r.account_id = %(account_id)s AND r.job_id = %(job_id)s AND NOT EXISTS (
               SELECT FROM outcome o WHERE o.account_id = r.account_id AND o.job_id = r.job_id AND o.position = r.position
                 AND o.kind = 'refused' AND o.at <= max(accepted_after)))
FROM chunk WHERE account_id = %(account_id)s AND job_id = %(job_id)s

-- name: note_tails
-- Jobs that have had everybody in a window once, and nothing but retries left: from now on they hold the account's queue only
-- for so long. The first moment is kept.
INSERT INTO job_condition (account_id, job_id, kind, reason, since, until)
SELECT j.account_id, j.id, 'retries', 'Only retries are left.', now, now + make_interval(secs => a.retry_tail_s)
FROM job j JOIN account a ON a.id = j.account_id CROSS JOIN (SELECT clock_timestamp() AS now) clock
WHERE j.status = 'sending'
  AND EXISTS (SELECT FROM retry r WHERE r.account_id = j.account_id AND r.job_id = j.id)
  AND NOT EXISTS (SELECT FROM chunk c WHERE c.account_id = j.account_id AND c.job_id = j.id
                  AND c.unsent > 0 AND c.next_position < c.first_position + c.n)
  AND NOT EXISTS (SELECT FROM job_condition w WHERE w.account_id = j.account_id AND w.job_id = j.id
                  AND w.kind IN ('paused', 'journal', 'gateway', 'quota'))
ON CONFLICT (account_id, job_id, kind) DO NOTHING

-- name: jobs_to_give_up_in
-- Active jobs with a recipient whose time is over, or whose own tail is. Not while they wait: nobody is failed by that. And nobody's
-- time is longer than the job's: a moment may have been written down by a clock that was wrong between two looks.
SELECT j.account_id, j.id, a.retry_deadline_s, is_late, tail_is_over
FROM job j JOIN account a ON a.id = j.account_id
LEFT JOIN job_condition t ON t.account_id = j.account_id AND t.job_id = j.id AND t.kind = 'retries'
CROSS JOIN LATERAL (SELECT (SELECT trusted_now()) - patient_since(j.started_at) AS lasted OFFSET 0) job
CROSS JOIN LATERAL (
    SELECT lasted > make_interval(secs => a.retry_deadline_s) AS is_late,
           coalesce(t.until <= (SELECT trusted_now()), false) AND lasted > make_interval(secs => a.retry_tail_s) AS tail_is_over) over
WHERE j.status = 'sending'
  AND NOT EXISTS (SELECT FROM job_condition w WHERE w.account_id = j.account_id AND w.job_id = j.id
                  AND w.kind IN ('paused', 'journal', 'gateway', 'quota'))
  AND EXISTS (
      SELECT FROM retry r WHERE r.account_id = j.account_id AND r.job_id = j.id
        AND (tail_is_over
             OR (is_late AND r.refusals > 0 AND r.since < (SELECT trusted_now()) - make_interval(secs => a.retry_deadline_s))))

-- name: give_up
-- They are booked as failed instead of being tried again; the counters follow in the same statement, and all attempts stay
-- listed. The chunk is locked before its retries, as a worker locks them that takes these into a window: one of the two has
-- them. Only who was refused runs into the deadline; the tail ends those too whom the gateway only ever put off. `since` may have
-- been written while a gap was being noted: where there was one since the first refusal, that is asked.
WITH due AS MATERIALIZED (
    SELECT chunk_no, position
    FROM retry r CROSS JOIN (SELECT trusted_now() - make_interval(secs => %(deadline_s)s) AS deadline) d
    WHERE account_id = %(account_id)s AND job_id = %(job_id)s
      AND (%(tail_is_over)s OR (%(is_late)s AND refusals > 0 AND since < deadline AND NOT EXISTS (
          SELECT FROM (SELECT min(at) AS first FROM outcome o WHERE o.account_id = r.account_id AND o.job_id = r.job_id
                         AND o.position = r.position AND o.kind = 'refused') refused
          JOIN clock_gap g ON g.until > refused.first WHERE patient_since(refused.first) >= deadline)))
    ORDER BY chunk_no, position LIMIT 1000
), held AS MATERIALIZED (
    SELECT chunk_no FROM chunk
    WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND chunk_no IN (SELECT chunk_no FROM due)
    ORDER BY chunk_no FOR NO KEY UPDATE
), ended AS (
    DELETE FROM retry r USING due JOIN held USING (chunk_no)
    WHERE r.account_id = %(account_id)s AND r.job_id = %(job_id)s AND r.chunk_no = due.chunk_no AND r.position = due.position
    RETURNING r.chunk_no, r.position, r.attempt_no, r.since
), written AS (
    INSERT INTO outcome (account_id, job_id, position, attempt_no, kind, evidence, reply)
    SELECT %(account_id)s, %(job_id)s, e.position, e.attempt_no, 'failed', 'worker',
           CASE WHEN last.code IS NULL THEN 'Never handed off' ELSE 'Temporary refusal' END
           || format(': given up after %%s in %%s',
                     CASE e.attempt_no WHEN 2 THEN '1 attempt' ELSE e.attempt_no - 1 || ' attempts' END,
                     CASE WHEN minutes <= 1 THEN '1 minute' ELSE minutes || ' minutes' END)
           || CASE WHEN last.code IS NULL THEN '.'
                   ELSE format('; the gateway''s last answer: “%%s”.', rtrim(last.code || ' ' || last.reply)) END
    FROM ended e
    CROSS JOIN LATERAL (SELECT round(extract(epoch FROM clock_timestamp() - e.since) / 60)::integer AS minutes) w
    LEFT JOIN LATERAL (
        SELECT code, reply FROM outcome o
        WHERE o.account_id = %(account_id)s AND o.job_id = %(job_id)s AND o.position = e.position AND o.kind = 'refused'
        ORDER BY attempt_no DESC, evidence DESC LIMIT 1) last ON true
)
UPDATE chunk c SET failed = c.failed + t.n
FROM (SELECT chunk_no, count(*)::integer AS n FROM ended GROUP BY chunk_no) t
WHERE c.account_id = %(account_id)s AND c.job_id = %(job_id)s AND c.chunk_no = t.chunk_no
RETURNING t.n

-- name: jobs_in_question
-- Active jobs with somebody who was refused for good, of whom nobody knows yet whether it was about that person.
SELECT DISTINCT r.account_id, r.job_id FROM retry r JOIN job j ON j.account_id = r.account_id AND j.id = r.job_id
WHERE r.alike IS NOT NULL AND NOT r.is_about_us AND j.status = 'sending'

-- name: find_it_about_us
-- So many were refused alike, or at all, since anybody was accepted: it is not about them, nor about those of whom it is not known
-- whether anybody was accepted after them. They are tried again whatever the gateway takes later. What it said to the last of them.
WITH accepted AS MATERIALIZED (
    SELECT coalesce(max(accepted_after), '-infinity') AS after, coalesce(max(accepted_before), '-infinity') AS before
    FROM chunk WHERE account_id = %(account_id)s AND job_id = %(job_id)s
), row AS MATERIALIZED (
    SELECT alike, count(*) AS n FROM retry JOIN accepted ON refused_at > before
    WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND alike IS NOT NULL
    GROUP BY alike
), ours AS MATERIALIZED (
    SELECT chunk_no, position FROM retry JOIN accepted ON refused_at > after
    WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND alike IS NOT NULL AND NOT is_about_us
      AND ((SELECT sum(n) FROM row) >= %(row_max)s OR alike IN (SELECT alike FROM row WHERE n >= %(alike_max)s))
), held AS MATERIALIZED (
    SELECT chunk_no FROM chunk
    WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND chunk_no IN (SELECT chunk_no FROM ours)
    ORDER BY chunk_no FOR NO KEY UPDATE
), told AS (
    UPDATE retry r SET is_about_us = true FROM ours JOIN held USING (chunk_no)
    WHERE r.account_id = %(account_id)s AND r.job_id = %(job_id)s AND r.chunk_no = ours.chunk_no AND r.position = ours.position
    RETURNING r.position, r.attempt_no, r.refused_at
)
SELECT rtrim(o.code || ' ' || o.reply) FROM told
JOIN outcome o ON o.account_id = %(account_id)s AND o.job_id = %(job_id)s AND o.position = told.position
              AND o.attempt_no = told.attempt_no - 1 AND o.kind = 'refused'
ORDER BY told.refused_at DESC LIMIT 1

-- name: find_it_about_them
-- Somebody was accepted from a window that was opened after they were refused: they are booked as failed by what the gateway said
-- then, and not asked for again. The chunk is locked before its retries, as everywhere.
WITH due AS MATERIALIZED (
    SELECT chunk_no, position FROM retry
    WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND alike IS NOT NULL AND NOT is_about_us
      AND refused_at <= (SELECT max(accepted_after) FROM chunk WHERE account_id = %(account_id)s AND job_id = %(job_id)s)
    ORDER BY chunk_no, position LIMIT 1000
), held AS MATERIALIZED (
    SELECT chunk_no FROM chunk
    WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND chunk_no IN (SELECT chunk_no FROM due)
    ORDER BY chunk_no FOR NO KEY UPDATE
), ended AS (
    DELETE FROM retry r USING due JOIN held USING (chunk_no)
    WHERE r.account_id = %(account_id)s AND r.job_id = %(job_id)s AND r.chunk_no = due.chunk_no AND r.position = due.position
    RETURNING r.chunk_no, r.position, r.attempt_no
), written AS (
    INSERT INTO outcome (account_id, job_id, position, attempt_no, kind, evidence, code, enhanced_code, reply)
    SELECT %(account_id)s, %(job_id)s, e.position, e.attempt_no, 'failed', 'worker', last.code, last.enhanced_code,
           format('Refused for good, and others were accepted since; the gateway''s answer: “%%s”.',
                  rtrim(last.code || ' ' || last.reply))
    FROM ended e JOIN outcome last ON last.account_id = %(account_id)s AND last.job_id = %(job_id)s
      AND last.position = e.position AND last.attempt_no = e.attempt_no - 1 AND last.kind = 'refused'
)
UPDATE chunk c SET failed = c.failed + t.n
FROM (SELECT chunk_no, count(*)::integer AS n FROM ended GROUP BY chunk_no) t
WHERE c.account_id = %(account_id)s AND c.job_id = %(job_id)s AND c.chunk_no = t.chunk_no
RETURNING t.n
