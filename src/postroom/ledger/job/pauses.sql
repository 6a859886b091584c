-- name: insert_pause
-- Until a person ends it. Who was first stays: a later pause changes nothing, but what Postroom itself has found is said beside
-- the first reason, once. A row back: there is something new.
INSERT INTO job_condition (account_id, job_id, kind, reason, since, until, by)
VALUES (%(account_id)s, %(job_id)s, 'paused', %(reason)s, clock_timestamp(), 'infinity', %(by)s)
ON CONFLICT (account_id, job_id, kind) DO UPDATE
SET reason = concat_ws(' ', nullif(regexp_replace(rtrim(job_condition.reason), '([^.?!…])$', '\1.'), ''), excluded.reason)
WHERE %(adds)s AND position(excluded.reason IN job_condition.reason) = 0
RETURNING true

-- name: delete_pause
-- A row back: it was paused.
DELETE FROM job_condition WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND kind = 'paused' RETURNING true

-- name: tell_workers
-- Heard when the pause is committed: they begin nothing more of this job. Without it they learn it at the window's end.
SELECT pg_notify('postroom_job', concat_ws(' ', %(account_id)s::bigint, %(job_id)s::bigint, 'paused'))

-- name: paused_for
-- Jobs that nobody but this one paused, and for a reason that begins so.
SELECT c.account_id, c.job_id FROM job_condition c
WHERE c.kind = 'paused' AND c.by = %(by)s AND starts_with(c.reason, %(beginning)s)
  AND NOT EXISTS (SELECT FROM job_condition a WHERE a.account_id = c.account_id AND a.job_id = c.job_id AND a.kind = 'alarm')
ORDER BY c.account_id, c.job_id

-- name: held
-- For `postroom check`: who was first stands in `by`, and what Postroom itself found, beside the first reason.
SELECT a.name AS account_name, c.job_id, c.reason, c.since
FROM job_condition c JOIN job j ON j.account_id = c.account_id AND j.id = c.job_id JOIN account a ON a.id = c.account_id
WHERE c.kind = 'paused' AND (c.by = %(by)s OR position(%(doubt)s IN c.reason) > 0)
  AND j.status IN ('pending_approval', 'queued', 'sending')
ORDER BY c.job_id

-- name: seconds_paused
-- What a job's speed is not measured over. Of several pauses before one resume each lasts until the next.
SELECT coalesce(sum(extract(epoch FROM until - at)), 0)::double precision AS seconds FROM (
    SELECT verb, at, lead(at) OVER (ORDER BY id) AS until, bool_or(verb = 'start') OVER (ORDER BY id) AS is_started
    FROM job_event WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND verb IN ('start', 'pause', 'resume')
) moment WHERE verb = 'pause' AND is_started
