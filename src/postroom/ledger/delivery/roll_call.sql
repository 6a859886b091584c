-- name: answer
-- This worker found all that it knew of, on the server that answers now.
INSERT INTO worker (owner, timeline, is_synchronous, seen_at, lease)
VALUES (%(owner)s, server_timeline(), current_setting('synchronous_standby_names') <> '', clock_timestamp(),
        %(lease_s)s * interval '1 s')
ON CONFLICT (owner) DO UPDATE
SET timeline = excluded.timeline, is_synchronous = excluded.is_synchronous, seen_at = excluded.seen_at, lease = excluded.lease

-- name: is_complete
-- Whether nobody is waited for.
SELECT timeline IS NOT DISTINCT FROM server_timeline() FROM installation

-- name: complete
-- Nobody is missing: chunks are given out again. A row back, where that was not so before.
UPDATE installation SET timeline = now_on
FROM (SELECT server_timeline() AS now_on) t
WHERE timeline IS DISTINCT FROM now_on AND NOT EXISTS (SELECT FROM worker w WHERE w.timeline <> now_on)
RETURNING 1

-- name: absent
-- Who has not answered yet, and whether the server only started anew, on the timeline that they had answered on.
SELECT owner, is_synchronous, regexp_replace(timeline, '[^/]*$', '') = regexp_replace(now_on, '[^/]*$', '')
FROM worker, (SELECT server_timeline() AS now_on) t WHERE timeline <> now_on ORDER BY owner

-- name: leave
-- They ended properly, or all that they knew is told.
DELETE FROM worker WHERE owner = ANY(%(owners)s)

-- name: forget_silent
-- A machine that is gone for good: its leases are long over. Never while a roll is called.
DELETE FROM worker w USING installation i
WHERE w.seen_at < clock_timestamp() - %(silent_s)s * interval '1 s' AND i.timeline = server_timeline() AND w.timeline = i.timeline

-- name: lost_windows
-- Of these windows, which their worker opened, how many are not there and did not go with their account.
SELECT count(*) FROM unnest(%(accounts)s::bigint[], %(jobs)s::bigint[], %(chunks)s::integer[], %(windows)s::integer[])
    AS m(account_id, job_id, chunk_no, window_no)
WHERE NOT EXISTS (
    SELECT FROM hand_off_window h WHERE h.account_id = m.account_id AND h.job_id = m.job_id AND h.chunk_no = m.chunk_no
      AND h.window_no = m.window_no AND h.owner = %(owner)s)
  AND NOT EXISTS (SELECT FROM account_deletion d WHERE d.account_id = m.account_id)

-- name: lost_outcomes
-- How many of these attempts have no outcome, of accounts that are there.
SELECT count(*) FROM unnest(%(accounts)s::bigint[], %(jobs)s::bigint[], %(positions)s::integer[], %(attempts)s::smallint[])
    AS m(account_id, job_id, position, attempt_no)
WHERE NOT EXISTS (
    SELECT FROM outcome o WHERE o.account_id = m.account_id AND o.job_id = m.job_id AND o.position = m.position
      AND o.attempt_no = m.attempt_no)
  AND NOT EXISTS (SELECT FROM account_deletion d WHERE d.account_id = m.account_id)

-- name: lost_ends
-- How many of these jobs, which were over, are not, and did not go with their account.
SELECT count(*) FROM unnest(%(jobs)s::bigint[]) AS m(id)
WHERE NOT EXISTS (SELECT FROM job j WHERE j.id = m.id AND j.status IN ('completed', 'cancelled', 'failed'))
  AND NOT EXISTS (SELECT FROM account_deletion d WHERE m.id = ANY(d.jobs))

-- name: size
-- Those who have not ended properly.
SELECT count(*) FROM worker
