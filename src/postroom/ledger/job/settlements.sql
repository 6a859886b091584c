-- name: lock_doubtful_chunks
-- Before their doubts are read, in the order in which a heartbeat locks them: no worker books into them meanwhile.
SELECT chunk_no FROM chunk WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND unconfirmed > 0
ORDER BY chunk_no FOR NO KEY UPDATE

-- name: doubts
-- Who is unconfirmed now, by the best evidence of the last attempt, and in nobody's hands. Chunk by chunk, in order, and the
-- evidence one by one: the planner, which knows nothing of rows that are new, took minutes for ten thousand doubts otherwise.
SELECT c.chunk_no, doubt.position, last.attempt_no
FROM chunk c
LEFT JOIN hand_off_window w ON w.account_id = c.account_id AND w.job_id = c.job_id AND w.chunk_no = c.chunk_no
    AND w.window_no = c.window_no AND c.window_open
CROSS JOIN LATERAL (
    SELECT DISTINCT position FROM outcome o
    WHERE o.account_id = c.account_id AND o.job_id = c.job_id AND o.kind = 'unconfirmed'
      AND o.position BETWEEN c.first_position AND c.first_position + c.n - 1
    ORDER BY position
) doubt
CROSS JOIN LATERAL (
    SELECT kind, attempt_no FROM outcome o
    WHERE o.account_id = c.account_id AND o.job_id = c.job_id AND o.position = doubt.position
    ORDER BY o.attempt_no DESC, o.evidence DESC LIMIT 1
) last
WHERE c.account_id = %(account_id)s AND c.job_id = %(job_id)s AND c.unconfirmed > 0 AND last.kind = 'unconfirmed'
  AND (%(positions)s::integer[] IS NULL OR doubt.position = ANY(%(positions)s::integer[]))
  AND (w.positions IS NULL OR doubt.position <> ALL(w.positions))
ORDER BY doubt.position

-- name: settle
-- A person's word becomes the evidence of that attempt, and the counters follow; whoever is sent again is due now. What the
-- gateway says, or the worker that had it in hand, stands above it, however late it comes.
WITH doubt AS MATERIALIZED (
    SELECT * FROM unnest(%(chunks)s::integer[], %(positions)s::integer[], %(attempts)s::smallint[]) AS d(chunk_no, p, a)
), written AS (
    INSERT INTO outcome (account_id, job_id, position, attempt_no, kind, evidence, reply)
    SELECT %(account_id)s, %(job_id)s, p, a, %(kind)s::outcome_kind, 'person', %(reply)s FROM doubt
), again AS (
    INSERT INTO retry (account_id, job_id, chunk_no, position, attempt_no, refusals, not_before)
    SELECT %(account_id)s, %(job_id)s, chunk_no, p, a + 1, 0, clock_timestamp() FROM doubt WHERE %(kind)s = 'released'
), tally AS (
    SELECT chunk_no, count(*) AS n FROM doubt GROUP BY chunk_no
)
UPDATE chunk c SET unconfirmed = unconfirmed - t.n,
                   sent = sent + CASE WHEN %(kind)s = 'sent' THEN t.n ELSE 0 END,
                   failed = failed + CASE WHEN %(kind)s = 'failed' THEN t.n ELSE 0 END,
                   available_at = CASE WHEN %(kind)s = 'released' THEN NULL ELSE available_at END
FROM tally t
WHERE c.account_id = %(account_id)s AND c.job_id = %(job_id)s AND c.chunk_no = t.chunk_no
