-- name: claim_chunk
-- A worker's right to a chunk, with a new epoch that fences whoever had it before. SKIP LOCKED lets claims pass each other.
-- None of a paused job, none from a database that is older than the worker knows (it was restored from a backup), and none while
-- the roll of workers is called after a fail-over. While the gateway is probed, those first in which somebody fresh is left, then
-- those in which somebody waits longest: one whom it puts off for ever must not be all that it is ever asked for.
WITH candidate AS (
    SELECT chunk_no, window_open AS was_open FROM chunk
    WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND unsent > 0
      AND (lease_until IS NULL OR lease_until < clock_timestamp())
      AND (available_at IS NULL OR available_at <= clock_timestamp())
      AND (SELECT beat >= %(beat)s AND coalesce(timeline = server_timeline(), true) FROM installation)
      AND NOT EXISTS (SELECT FROM job_condition WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND kind = 'paused')
    ORDER BY CASE WHEN next_position >= first_position + n AND EXISTS (
                 SELECT FROM job_condition WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND kind = 'gateway')
             THEN coalesce(available_at, '-infinity') END NULLS FIRST,
             chunk_no
    LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE chunk c SET lease_epoch = lease_epoch + 1, owner = %(owner)s, available_at = NULL,
                   lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
FROM candidate
WHERE c.account_id = %(account_id)s AND c.job_id = %(job_id)s AND c.chunk_no = candidate.chunk_no
RETURNING c.chunk_no, c.lease_epoch, c.next_position, c.first_position + c.n - 1 AS last_position, c.window_no, candidate.was_open

-- name: lose_window
-- The owner of an open window is gone. Nobody can know what the gateway has of it: unconfirmed, and never sent again.
WITH held AS (
    SELECT unnest(w.positions) AS position, unnest(w.attempts) AS attempt_no
    FROM chunk c JOIN hand_off_window w USING (account_id, job_id, chunk_no, window_no)
    WHERE c.account_id = %(account_id)s AND c.job_id = %(job_id)s AND c.chunk_no = %(chunk_no)s AND c.window_open
), doubt AS (
    INSERT INTO outcome (account_id, job_id, position, attempt_no, kind, evidence, reply)
    SELECT %(account_id)s, %(job_id)s, position, attempt_no, 'unconfirmed', 'lease_lost',
           'The worker that had it in hand went away.' FROM held
    RETURNING 1
)
UPDATE chunk SET unconfirmed = unconfirmed + (SELECT count(*) FROM doubt), window_open = false
WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND chunk_no = %(chunk_no)s AND window_open

-- name: turn_window
-- The heart: one statement, so one transaction and one round trip. Fenced by the epoch, it books the last window's
-- outcomes, lets the counters follow, renews the lease, and opens the next window of recipients that no window has held.
-- Whoever was suppressed since the freeze is booked as skipped here. No row back: the lease is lost, nothing was written.
-- Position and window fence too: in a database that was restored under a running worker the epoch may be the same again.
-- The commit waits for the disk, whatever became of the session's settings: mail goes out on the strength of it.
WITH booked AS MATERIALIZED (
    SELECT * FROM unnest(%(positions)s::integer[], %(attempts)s::smallint[], %(kinds)s::outcome_kind[],
                         %(evidences)s::outcome_evidence[], %(codes)s::smallint[], %(enhanced_codes)s::text[],
                         %(replies)s::text[]) AS b(p, a, k, e, c, x, r)
), tally AS MATERIALIZED (
    SELECT count(*) FILTER (WHERE k = 'sent') AS sent, count(*) FILTER (WHERE k = 'failed') AS failed,
           count(*) FILTER (WHERE k = 'skipped') AS skipped, count(*) FILTER (WHERE k = 'unconfirmed') AS unconfirmed,
           set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply'
                      ELSE 'on' END, true)
    FROM booked
), fresh AS MATERIALIZED (
    SELECT r.position, r.address, r.fields::text AS fields, s.reason AS suppressed
    FROM recipient r LEFT JOIN suppression s ON s.account_id = r.account_id AND s.address_key = r.address_key
    WHERE r.account_id = %(account_id)s AND r.job_id = %(job_id)s
      AND r.position BETWEEN %(next_position)s AND %(last_position)s AND r.booked IS NULL
    ORDER BY r.position LIMIT %(size)s
), held AS (
    UPDATE chunk c SET
        sent = c.sent + t.sent, failed = c.failed + t.failed,
        skipped = c.skipped + t.skipped + (SELECT count(*) FROM fresh WHERE suppressed IS NOT NULL),
        unconfirmed = c.unconfirmed + t.unconfirmed,
        accepted_after = CASE WHEN t.sent > 0 THEN clock_timestamp() - make_interval(secs => %(open_s)s)
                              ELSE c.accepted_after END,
        accepted_before = CASE WHEN t.sent > 0 THEN clock_timestamp() ELSE c.accepted_before END,
        next_position = CASE WHEN %(size)s = 0 THEN c.next_position
                             ELSE coalesce((SELECT max(position) + 1 FROM fresh), c.first_position + c.n) END,
        window_open = EXISTS (SELECT FROM fresh WHERE suppressed IS NULL),
        window_no = c.window_no + (EXISTS (SELECT FROM fresh WHERE suppressed IS NULL))::integer,
        lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
    FROM tally t
    WHERE c.account_id = %(account_id)s AND c.job_id = %(job_id)s AND c.chunk_no = %(chunk_no)s
      AND c.lease_epoch = %(epoch)s AND c.next_position = %(next_position)s AND c.window_no = %(window_no)s
    RETURNING c.window_no, c.next_position
), written AS (
    INSERT INTO outcome (account_id, job_id, position, attempt_no, kind, evidence, code, enhanced_code, reply)
    SELECT %(account_id)s, %(job_id)s, p, a, k, e, c, x, r FROM booked, held
    UNION ALL
    SELECT %(account_id)s, %(job_id)s, position, 1, 'skipped', 'suppression', NULL, NULL, suppressed FROM fresh, held
    WHERE suppressed IS NOT NULL
), opened AS (
    INSERT INTO hand_off_window (account_id, job_id, chunk_no, window_no, lease_epoch, owner, positions, attempts)
    SELECT %(account_id)s, %(job_id)s, %(chunk_no)s, held.window_no, %(epoch)s, %(owner)s,
           array_agg(position), array_agg(1::smallint)
    FROM fresh, held WHERE suppressed IS NULL GROUP BY held.window_no
)
SELECT held.window_no, held.next_position, fresh.position, fresh.address, fresh.fields
FROM held LEFT JOIN fresh ON fresh.suppressed IS NULL

-- name: book_retries
-- Who stays unsent after a window is due again later. Apart from turn_window, because few windows need it and each target
-- of an INSERT costs that statement whether it gets rows or not. It remembers the first refusal: patience runs from there. By one
-- moment for all, so that they keep their order.
INSERT INTO retry (account_id, job_id, chunk_no, position, attempt_no, refusals, not_before, since, alike, refused_at, own)
SELECT %(account_id)s, %(job_id)s, %(chunk_no)s, p, a + 1, f, (SELECT clock_timestamp()) + make_interval(secs => d),
       coalesce(patient_since((SELECT min(at) FROM outcome o WHERE o.account_id = %(account_id)s AND o.job_id = %(job_id)s
                               AND o.position = p AND o.kind = 'refused')), clock_timestamp()),
       k, CASE WHEN k IS NOT NULL THEN clock_timestamp() END, o
FROM unnest(%(positions)s::integer[], %(attempts)s::smallint[], %(delays_s)s::double precision[],
            %(refusals)s::smallint[], %(alike)s::integer[], %(own)s::integer[]) AS again(p, a, d, f, k, o)

-- name: take_due_retries
-- Those of this chunk whose time has come, first come first; they go into the next window. Whether one was refused for good before,
-- and that is no part of a long row of such, nor was of one: then the next refusal is the last.
DELETE FROM retry d WHERE (account_id, job_id, chunk_no, position) IN (
    SELECT account_id, job_id, chunk_no, position FROM retry
    WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND chunk_no = %(chunk_no)s
      AND not_before <= clock_timestamp()
    ORDER BY not_before, position LIMIT %(size)s)
RETURNING position, attempt_no, refusals, alike IS NOT NULL AND NOT is_about_us AND (
    SELECT count(*) FILTER (WHERE r.alike = d.alike) < %(alike_max)s AND count(*) < %(row_max)s
    FROM retry r WHERE r.account_id = d.account_id AND r.job_id = d.job_id AND r.alike IS NOT NULL
      AND r.refused_at > (SELECT coalesce(max(accepted_before), '-infinity') FROM chunk c
                          WHERE c.account_id = d.account_id AND c.job_id = d.job_id)) AS was_refused,
          own, extract(epoch FROM (SELECT clock_timestamp()) - not_before)::double precision AS due_for_s

-- name: recipients_at
-- What became of them since the freeze. By a list of positions: joined to the statement above, the planner read the whole
-- job for it, 44 ms a chunk of 100,000.
SELECT r.position, r.address, r.fields::text AS fields, s.reason AS suppressed
FROM recipient r LEFT JOIN suppression s ON s.account_id = r.account_id AND s.address_key = r.address_key
WHERE r.account_id = %(account_id)s AND r.job_id = %(job_id)s AND r.position = ANY(%(positions)s::integer[])
ORDER BY r.position

-- name: open_retry_window
-- The same intent as in turn_window, for recipients that had a window before.
WITH held AS (
    UPDATE chunk SET window_no = window_no + 1, window_open = true
    WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND chunk_no = %(chunk_no)s AND lease_epoch = %(epoch)s
    RETURNING window_no
)
INSERT INTO hand_off_window (account_id, job_id, chunk_no, window_no, lease_epoch, owner, positions, attempts)
SELECT %(account_id)s, %(job_id)s, %(chunk_no)s, window_no, %(epoch)s, %(owner)s, %(positions)s, %(attempts)s FROM held
RETURNING window_no

-- name: release_chunk
-- Given back: finished, or with only retries left, or because the worker drains. Fenced like every write.
UPDATE chunk SET owner = NULL, lease_until = NULL,
    available_at = CASE WHEN next_position < first_position + n THEN NULL ELSE
        (SELECT min(not_before) FROM retry r
         WHERE r.account_id = %(account_id)s AND r.job_id = %(job_id)s AND r.chunk_no = %(chunk_no)s) END
WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND chunk_no = %(chunk_no)s AND lease_epoch = %(epoch)s

-- name: has_claimable_chunk
-- Whether a lane would find work.
SELECT EXISTS (
    SELECT FROM chunk WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND unsent > 0
      AND (lease_until IS NULL OR lease_until < clock_timestamp())
      AND (available_at IS NULL OR available_at <= clock_timestamp())) AS found

-- name: renew_leases
-- A worker's heartbeat for all its chunks at once. What does not come back, or with another epoch, is lost: it may begin nothing
-- new there. Where the end of a job or a pause fenced it, it still keeps the window that it has in hand from being called lost.
-- A chunk that was given back meanwhile has no owner, and stays free. Locked in order, as the end of a job locks them.
WITH held AS MATERIALIZED (
    SELECT c.account_id, c.job_id, c.chunk_no
    FROM unnest(%(accounts)s::bigint[], %(jobs)s::bigint[], %(chunks)s::integer[], %(epochs)s::integer[])
        AS mine(account_id, job_id, chunk_no, epoch)
    JOIN chunk c USING (account_id, job_id, chunk_no)
    WHERE (c.lease_epoch = mine.epoch AND c.owner IS NOT NULL) OR (c.window_open AND c.owner = %(owner)s)
    ORDER BY c.account_id, c.job_id, c.chunk_no FOR NO KEY UPDATE OF c
)
UPDATE chunk c SET lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
FROM held
WHERE c.account_id = held.account_id AND c.job_id = held.job_id AND c.chunk_no = held.chunk_no
RETURNING c.job_id, c.chunk_no, c.lease_epoch

-- name: lock_chunk
-- Late evidence changes counters that others may be changing too. Whether there is a window of somebody who is gone.
SELECT window_open AND (lease_until IS NULL OR lease_until < clock_timestamp()) AS is_abandoned FROM chunk
WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND chunk_no = %(chunk_no)s FOR UPDATE

-- name: settle_window
-- What a fenced or dead worker knew of its own window. Evidence only ever moves a recipient up: each row is taken only if it is
-- stronger than what that attempt already has, and the counters follow exactly what was taken. A recipient is what its last
-- attempt says: where a later one has an outcome, the row is only kept, and where a later one is in somebody's hands, it has
-- to come again (their number is the answer). One that only waited for its next attempt needs none once it is sent or failed.
-- A recipient that failed is never given back: by then its rest may be continued elsewhere. The other numbers are a
-- `Contradiction`: of whom a person had settled otherwise.
WITH intended AS MATERIALIZED (
    SELECT unnest(positions) AS p, unnest(attempts) AS a FROM hand_off_window
    WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND chunk_no = %(chunk_no)s AND window_no = %(window_no)s
      AND owner = %(owner)s
), in_hand AS MATERIALIZED (
    SELECT unnest(w.positions) AS p, unnest(w.attempts) AS a
    FROM chunk c JOIN hand_off_window w USING (account_id, job_id, chunk_no, window_no)
    WHERE c.account_id = %(account_id)s AND c.job_id = %(job_id)s AND c.chunk_no = %(chunk_no)s AND c.window_open
), told AS (
    SELECT b.p, b.a, b.e, b.c, b.x, b.r, b.d, b.f, o.kind AS was, o.evidence AS was_evidence,
           CASE WHEN o.kind = 'failed' AND b.k IN ('refused', 'released') THEN 'failed' ELSE b.k END AS k,
           EXISTS (SELECT FROM in_hand h WHERE h.p = b.p AND h.a > b.a) AS too_early,
           NOT EXISTS (SELECT FROM outcome l WHERE l.account_id = %(account_id)s AND l.job_id = %(job_id)s
                       AND l.position = b.p AND l.attempt_no > b.a) AS is_last
    FROM unnest(%(positions)s::integer[], %(attempts)s::smallint[], %(kinds)s::outcome_kind[],
                         %(evidences)s::outcome_evidence[], %(codes)s::smallint[], %(enhanced_codes)s::text[],
                         %(replies)s::text[], %(delays_s)s::double precision[], %(refusals)s::smallint[])
        AS b(p, a, k, e, c, x, r, d, f)
    JOIN intended USING (p, a)
    LEFT JOIN LATERAL (
        SELECT kind, evidence FROM outcome o
        WHERE o.account_id = %(account_id)s AND o.job_id = %(job_id)s AND o.position = b.p AND o.attempt_no = b.a
        ORDER BY evidence DESC LIMIT 1) o ON true
), stronger AS MATERIALIZED (
    SELECT *, is_last AND was IS NOT NULL AND was IN ('refused', 'released') AS waited FROM told
    WHERE was_evidence IS NULL OR e > was_evidence
), written AS (
    INSERT INTO outcome (account_id, job_id, position, attempt_no, kind, evidence, code, enhanced_code, reply)
    SELECT %(account_id)s, %(job_id)s, p, a, k, e, c, x, r FROM stronger WHERE NOT too_early
), again AS (
    INSERT INTO retry (account_id, job_id, chunk_no, position, attempt_no, refusals, not_before, since)
    SELECT %(account_id)s, %(job_id)s, %(chunk_no)s, p, a + 1, f, clock_timestamp() + make_interval(secs => d),
           coalesce(patient_since((SELECT min(at) FROM outcome o WHERE o.account_id = %(account_id)s AND o.job_id = %(job_id)s
                                   AND o.position = p AND o.kind = 'refused')), clock_timestamp())
    FROM stronger WHERE k IN ('refused', 'released') AND is_last AND NOT waited AND %(still_sending)s
), needless AS (
    DELETE FROM retry r USING stronger
    WHERE r.account_id = %(account_id)s AND r.job_id = %(job_id)s AND r.chunk_no = %(chunk_no)s AND r.position = p
      AND waited AND NOT too_early AND k NOT IN ('refused', 'released')
), tally AS (
    SELECT count(*) FILTER (WHERE k = 'sent') - count(*) FILTER (WHERE was = 'sent') AS sent,
           count(*) FILTER (WHERE k = 'failed') - count(*) FILTER (WHERE was = 'failed') AS failed,
           count(*) FILTER (WHERE k = 'skipped') - count(*) FILTER (WHERE was = 'skipped') AS skipped,
           count(*) FILTER (WHERE k = 'unconfirmed') - count(*) FILTER (WHERE was = 'unconfirmed') AS unconfirmed,
           count(*) FILTER (WHERE k IN ('refused', 'released')) AS again
    FROM stronger WHERE is_last AND NOT too_early
), contradicted AS (
    SELECT k, is_last, NOT is_last OR p IN (
        SELECT its.position
        FROM recipient its
        JOIN job n ON n.account_id = its.account_id AND n.continues = its.job_id
        JOIN recipient again ON again.account_id = n.account_id AND again.job_id = n.id AND again.row_no = its.row_no
        WHERE its.account_id = %(account_id)s AND its.job_id = %(job_id)s AND its.position = ANY(%(positions)s::integer[])
    ) AS is_sent_again
    FROM stronger
    WHERE was_evidence = 'person' AND (was = 'sent') <> (k = 'sent') AND (is_last OR k = 'sent') AND NOT too_early
), ended AS (
    SELECT EXISTS (SELECT FROM intended) AND EXISTS (
        SELECT FROM chunk c WHERE c.account_id = %(account_id)s AND c.job_id = %(job_id)s AND c.chunk_no = %(chunk_no)s
          AND c.window_open AND c.window_no = %(window_no)s) AS its_window
)
UPDATE chunk c SET sent = c.sent + t.sent, failed = c.failed + t.failed, skipped = c.skipped + t.skipped,
                   unconfirmed = c.unconfirmed + t.unconfirmed,
                   window_open = c.window_open AND NOT its_window,
                   owner = CASE WHEN its_window AND c.lease_epoch <> %(epoch)s THEN NULL ELSE c.owner END,
                   lease_until = CASE WHEN its_window AND c.lease_epoch <> %(epoch)s THEN NULL ELSE c.lease_until END,
                   available_at = CASE WHEN t.again > 0 THEN NULL ELSE c.available_at END
FROM tally t, ended
WHERE c.account_id = %(account_id)s AND c.job_id = %(job_id)s AND c.chunk_no = %(chunk_no)s
RETURNING (SELECT count(*) FROM stronger WHERE too_early),
          (SELECT count(*) FROM contradicted WHERE k IN ('refused', 'released')),
          (SELECT count(*) FROM contradicted WHERE k = 'failed'),
          (SELECT count(*) FROM contradicted WHERE k = 'sent' AND is_last),
          (SELECT count(*) FROM contradicted WHERE k = 'sent' AND is_sent_again)

-- name: abandoned_windows
-- Windows that are still open in jobs that are over or paused, and whose worker is gone: nobody else claims these chunks.
SELECT c.account_id, c.job_id, c.chunk_no FROM chunk c JOIN job j ON j.account_id = c.account_id AND j.id = c.job_id
WHERE c.window_open AND (c.lease_until IS NULL OR c.lease_until < clock_timestamp())
  AND (j.status IN ('cancelled', 'failed')
       OR EXISTS (SELECT FROM job_condition p WHERE p.account_id = j.account_id AND p.job_id = j.id AND p.kind = 'paused'))
ORDER BY c.job_id, c.chunk_no LIMIT 1000

-- name: sending_jobs
-- What the sweeper looks at: each active job with what is claimable in it and what holds it back. Given up is one that was tried
-- to the end of its time: who was paused, or without any worker, is tried once more before.
SELECT j.account_id, j.id AS job_id, j.lanes, c.claimable, c.nothing_left, w.waiting, w.probing, w.reason,
       least(w.tried_until, (SELECT trusted_now())) > w.since + make_interval(secs => %(give_up_s)s) AND NOT w.paused AS given_up
FROM job j
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE unsent > 0 AND (lease_until IS NULL OR lease_until < clock_timestamp())
                              AND (available_at IS NULL OR available_at <= clock_timestamp())) AS claimable,
           count(*) FILTER (WHERE unsent > 0 OR window_open) = 0 AS nothing_left
    FROM chunk WHERE account_id = j.account_id AND job_id = j.id) c
CROSS JOIN LATERAL (
    SELECT coalesce(bool_or(until > clock_timestamp()), false) AS waiting, count(*) > 0 AS probing,
           min(since) FILTER (WHERE kind = 'gateway') AS since, max(until) FILTER (WHERE kind = 'gateway') AS tried_until,
           min(reason) FILTER (WHERE kind = 'gateway') AS reason,
           count(*) FILTER (WHERE kind = 'paused') > 0 AS paused
    FROM job_condition w WHERE w.account_id = j.account_id AND w.job_id = j.id
      AND w.kind IN ('paused', 'journal', 'gateway', 'quota')) w
WHERE j.status = 'sending'

-- name: accounts_with_an_idle_queue
-- A queued job whose time has come, that is not paused, and no active one: the move was lost in a crash, or it waited for its time.
SELECT DISTINCT q.account_id FROM job q
WHERE q.status = 'queued' AND (q.not_before IS NULL OR q.not_before <= clock_timestamp())
  AND NOT EXISTS (SELECT FROM job_condition p WHERE p.account_id = q.account_id AND p.job_id = q.id AND p.kind = 'paused')
  AND NOT EXISTS (SELECT FROM job s WHERE s.account_id = q.account_id AND s.status = 'sending')

-- name: untouched_window
-- After a connection was lost during the commit: the window of ours that may have been opened without our hearing of it,
-- even when somebody took the chunk over since and had to call it unconfirmed: we know that it was never touched.
SELECT window_no, positions, attempts FROM hand_off_window
WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND chunk_no = %(chunk_no)s
  AND lease_epoch = %(epoch)s AND window_no > %(known_window_no)s

-- name: fence_claim
-- What a worker may still have on its way for its own chunk, on a connection that it lost, opens no window after this.
UPDATE chunk SET lease_epoch = lease_epoch + 1
WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND chunk_no = %(chunk_no)s AND lease_epoch = %(epoch)s
RETURNING lease_epoch

-- name: fence_owner
-- A worker that is known to be dead: whatever it still had on its way opens no window after this, and its chunks are free, but
-- for those with an open window, until that is settled. Locked in the order in which a heartbeat locks them.
WITH its AS (
    SELECT c.account_id, c.job_id, c.chunk_no FROM job j JOIN chunk c ON c.account_id = j.account_id AND c.job_id = j.id
    WHERE j.status = 'sending' AND c.owner = %(owner)s
    UNION SELECT account_id, job_id, chunk_no FROM chunk WHERE window_open AND owner = %(owner)s
), held AS MATERIALIZED (
    SELECT c.account_id, c.job_id, c.chunk_no FROM chunk c JOIN its USING (account_id, job_id, chunk_no)
    WHERE c.owner = %(owner)s ORDER BY c.account_id, c.job_id, c.chunk_no FOR NO KEY UPDATE OF c
)
UPDATE chunk c SET lease_epoch = lease_epoch + 1,
                   owner = CASE WHEN window_open THEN owner END,
                   lease_until = CASE WHEN window_open THEN lease_until END
FROM held
WHERE c.account_id = held.account_id AND c.job_id = held.job_id AND c.chunk_no = held.chunk_no

-- name: doubtful_windows
-- Of a dead worker: the windows that its journal names, and those that are open, so far as one of their recipients has no
-- outcome for that attempt, or one that a journal may know better than. Looked up one by one (OFFSET 0): the planner, which
-- does not know how few they are, would read all windows there ever were.
SELECT w.account_id, w.job_id, w.chunk_no, w.window_no, w.lease_epoch, w.positions, w.attempts
FROM (
    SELECT * FROM unnest(%(accounts)s::bigint[], %(jobs)s::bigint[], %(chunks)s::integer[], %(windows)s::integer[])
        AS named(account_id, job_id, chunk_no, window_no)
    UNION SELECT account_id, job_id, chunk_no, window_no FROM chunk WHERE window_open) one
CROSS JOIN LATERAL (
    SELECT * FROM hand_off_window h
    WHERE h.account_id = one.account_id AND h.job_id = one.job_id AND h.chunk_no = one.chunk_no
      AND h.window_no = one.window_no AND h.owner = %(owner)s OFFSET 0) w
WHERE EXISTS (
    SELECT FROM unnest(w.positions, w.attempts) AS r(position, attempt_no)
    LEFT JOIN LATERAL (
        SELECT evidence FROM outcome o
        WHERE o.account_id = w.account_id AND o.job_id = w.job_id AND o.position = r.position AND o.attempt_no = r.attempt_no
        ORDER BY evidence DESC LIMIT 1) o ON true
    WHERE o.evidence IS NULL OR o.evidence IN ('lease_lost', 'crash_after_dot', 'person'))
ORDER BY w.account_id, w.job_id, w.chunk_no, w.window_no

-- name: try_sweep_lock
-- One sweeper at a time; it goes with the transaction, so a frozen sweeper cannot keep it for long.
SELECT pg_try_advisory_xact_lock(7092041), set_config('idle_in_transaction_session_timeout', '10s', true)
