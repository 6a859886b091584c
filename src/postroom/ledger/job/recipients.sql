-- name: create_intake
-- The rows of a list as they came, before anything is decided. Temporary: not logged, gone with the transaction.
CREATE TEMPORARY TABLE intake (
    row_no       integer NOT NULL,
    address      text NOT NULL,
    address_key  text NOT NULL,
    problem      text,
    fields       json NOT NULL
) ON COMMIT DROP

-- name: copy_intake
-- COPY takes a million rows without a bind parameter.
COPY intake (row_no, address, address_key, problem, fields) FROM STDIN

-- name: intake_from_contacts
-- The same from the account's own contacts, whose addresses were checked when they came in.
INSERT INTO intake (row_no, address, address_key, fields)
SELECT row_number() OVER (ORDER BY id), address, address_key, fields FROM contact WHERE account_id = %(account_id)s

-- name: intake_of_list
-- The same from the list of a job, whole: what made an address unusable then does so again.
INSERT INTO intake (row_no, address, address_key, problem, fields)
SELECT r.row_no, r.address, r.address_key, CASE r.booked WHEN 'unusable' THEN o.reply END, r.fields
FROM recipient r
LEFT JOIN outcome o ON o.account_id = r.account_id AND o.job_id = r.job_id AND o.position = r.position AND o.attempt_no = 0
    AND o.evidence = 'freeze'
WHERE r.account_id = %(account_id)s AND r.job_id = %(job_id)s

-- name: create_continued
-- The rows of a job's list that jobs which continue it have taken in, sent or set apart: nobody is continued twice.
CREATE TEMPORARY TABLE continued ON COMMIT DROP AS
SELECT r.row_no FROM job k JOIN recipient r ON r.account_id = k.account_id AND r.job_id = k.id
WHERE k.account_id = %(account_id)s AND k.continues = %(job_id)s
UNION SELECT e.row_no FROM job k JOIN exclusion e ON e.account_id = k.account_id AND e.job_id = k.id
WHERE k.account_id = %(account_id)s AND k.continues = %(job_id)s

-- name: analyze_continued
-- As below: without it a list of a million is looked for row by row.
ANALYZE continued

-- name: intake_of_unsent
-- The same from the rest of a job: whom it never handed off. Chunk by chunk and in order: the planner, which knows nothing of a
-- job that is new, would else read all recipients for each chunk.
INSERT INTO intake (row_no, address, address_key, fields)
SELECT r.row_no, r.address, r.address_key, r.fields
FROM chunk c
CROSS JOIN LATERAL (
    SELECT * FROM recipient
    WHERE account_id = c.account_id AND job_id = c.job_id AND position BETWEEN c.first_position AND c.first_position + c.n - 1
    ORDER BY position
) r
LEFT JOIN LATERAL (
    SELECT kind FROM outcome o
    WHERE o.account_id = r.account_id AND o.job_id = r.job_id AND o.position = r.position
    ORDER BY o.attempt_no DESC, o.evidence DESC LIMIT 1
) o ON true
WHERE c.account_id = %(account_id)s AND c.job_id = %(job_id)s AND c.unsent > 0
  AND (o.kind IS NULL OR o.kind IN ('refused', 'released'))
  AND NOT EXISTS (SELECT FROM continued k WHERE k.row_no = r.row_no)

-- name: intake_of_failed
-- The same of whom it failed; what made an address unusable then does so again. The evidence one by one, as above. Whom a person
-- failed, another job sends already, whatever the gateway has said since.
INSERT INTO intake (row_no, address, address_key, problem, fields)
SELECT r.row_no, r.address, r.address_key, CASE r.booked WHEN 'unusable' THEN last.reply END, r.fields
FROM (
    SELECT position FROM outcome WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND kind = 'failed'
    GROUP BY position HAVING bool_and(evidence <> 'person') ORDER BY position
) failed
CROSS JOIN LATERAL (
    SELECT kind, reply FROM outcome o
    WHERE o.account_id = %(account_id)s AND o.job_id = %(job_id)s AND o.position = failed.position
    ORDER BY o.attempt_no DESC, o.evidence DESC LIMIT 1
) last
JOIN recipient r ON r.account_id = %(account_id)s AND r.job_id = %(job_id)s AND r.position = failed.position
WHERE last.kind = 'failed' AND NOT EXISTS (SELECT FROM continued k WHERE k.row_no = r.row_no)

-- name: is_any_failed_worth_trying
-- Whether one of those can fare better: an address that nobody can use, one that is suppressed now, and a message that could not be
-- made stay as they are. What a worker says alone, without a doubt before, is that it could not be made.
SELECT EXISTS (
    SELECT FROM outcome o
    JOIN recipient r ON r.account_id = o.account_id AND r.job_id = o.job_id AND r.position = o.position
    WHERE o.account_id = %(account_id)s AND o.job_id = %(job_id)s AND o.kind = 'failed' AND o.evidence NOT IN ('freeze', 'person')
      AND NOT EXISTS (
          SELECT FROM outcome later
          WHERE later.account_id = o.account_id AND later.job_id = o.job_id AND later.position = o.position
            AND (later.evidence = 'person' OR (later.attempt_no, later.evidence) > (o.attempt_no, o.evidence)))
      AND (o.evidence <> 'worker' OR EXISTS (
          SELECT FROM outcome doubt
          WHERE doubt.account_id = o.account_id AND doubt.job_id = o.job_id AND doubt.position = o.position
            AND doubt.attempt_no = o.attempt_no AND doubt.evidence < o.evidence))
      AND NOT EXISTS (SELECT FROM suppression s WHERE s.account_id = o.account_id AND s.address_key = r.address_key)
      AND NOT EXISTS (
          SELECT FROM job k JOIN recipient taken ON taken.account_id = k.account_id AND taken.job_id = k.id
          WHERE k.account_id = o.account_id AND k.continues = o.job_id AND taken.row_no = r.row_no)
) AS is_any

-- name: intake_at
-- The same of those at these positions.
INSERT INTO intake (row_no, address, address_key, fields)
SELECT row_no, address, address_key, fields FROM recipient
WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND position = ANY(%(positions)s::integer[])

-- name: analyze_intake
-- Temporary tables are never analysed by themselves; without it the joins below are planned for a handful of rows.
ANALYZE intake

-- name: create_finding
-- What sets a row apart from the rest, decided once. Grouping only the keys keeps it to one narrow pass. Whoever has a key and a
-- problem is taken off by the list itself, wherever else in it the same address stands.
CREATE TEMPORARY TABLE finding ON COMMIT DROP AS
WITH first AS (
    SELECT address_key, min(row_no) AS row_no FROM intake WHERE problem IS NULL
    GROUP BY address_key HAVING count(*) > 1
), off AS (
    SELECT DISTINCT ON (address_key) address_key, problem FROM intake WHERE problem IS NOT NULL AND address_key <> ''
    ORDER BY address_key, row_no
)
SELECT i.row_no,
       CASE WHEN i.address_key = '' THEN 'unusable'
            WHEN off.address_key IS NOT NULL OR s.address_key IS NOT NULL THEN 'suppressed'
            ELSE 'duplicate' END AS kind,
       CASE WHEN i.address_key = '' THEN i.problem
            WHEN off.address_key IS NOT NULL THEN off.problem
            WHEN s.address_key IS NOT NULL THEN s.reason
            ELSE 'The same address as in row ' || first.row_no || '.' END AS reason
FROM intake i
LEFT JOIN first ON first.address_key = i.address_key
LEFT JOIN off ON off.address_key = i.address_key
LEFT JOIN suppression s ON s.account_id = %(account_id)s AND s.address_key = i.address_key
WHERE i.address_key = '' OR off.address_key IS NOT NULL OR s.address_key IS NOT NULL OR first.row_no < i.row_no

-- name: analyze_finding
-- As for the intake.
ANALYZE finding

-- name: create_listing
-- The list as it will be frozen: positions without gaps, in the order of the rows.
CREATE TEMPORARY TABLE listing ON COMMIT DROP AS
SELECT row_number() OVER (ORDER BY i.row_no)::integer AS position,
       i.row_no, i.address, i.address_key,
       CASE WHEN f.kind IS NULL THEN '' ELSE i.row_no::text END AS dedupe_key,
       CASE WHEN f.kind = 'duplicate' AND %(duplicates)s = 'send' THEN NULL ELSE f.kind END AS booked,
       f.reason, i.fields
FROM intake i LEFT JOIN finding f ON f.row_no = i.row_no
WHERE f.kind IS NULL
   OR (f.kind = 'duplicate' AND %(duplicates)s <> 'exclude')
   OR (f.kind = 'unusable' AND %(unusable_addresses)s = 'fail')

-- name: create_deal
-- The listing dealt into chunks, each with the digest of its rows: the list's digest is made of these, so that a million
-- rows are never one string. The length keeps text from moving between values: an unusable address may hold tabs and lines.
CREATE TEMPORARY TABLE deal ON COMMIT DROP AS
SELECT (position - 1) / %(chunk_size)s AS chunk_no,
       min(position) AS first_position,
       count(*)::integer AS n,
       count(*) FILTER (WHERE booked = 'unusable')::integer AS failed,
       count(*) FILTER (WHERE booked = 'duplicate')::integer AS skipped,
       sha256(convert_to(string_agg(concat_ws(E'\t', position, length(address), address, address_key, dedupe_key, booked,
                                              fields::text),
                                    E'\n' ORDER BY position), 'UTF8')) AS digest
FROM listing GROUP BY 1

-- name: count_listing
-- Recipients that will be in the job.
SELECT count(*)::integer AS n FROM listing

-- name: count_excluded
-- Rows that will not be in the job, by what set them apart.
SELECT f.kind, count(*)::integer AS n FROM finding f
WHERE NOT EXISTS (SELECT FROM listing l WHERE l.row_no = f.row_no) GROUP BY f.kind

-- name: some_findings
-- A few examples, for the answer to a list of which nobody is left.
SELECT row_no, kind, reason FROM finding ORDER BY row_no LIMIT 5

-- name: digest_of_list
-- SHA-256 over the chunk digests in order.
SELECT sha256(string_agg(digest, ''::bytea ORDER BY chunk_no)) AS digest FROM deal

-- name: freeze_recipients
-- The frozen list. Rows, never a query.
INSERT INTO recipient (account_id, job_id, position, row_no, address, address_key, dedupe_key, booked, fields)
SELECT %(account_id)s, %(job_id)s, position, row_no, address, address_key, dedupe_key, booked, fields FROM listing
ORDER BY position

-- name: freeze_chunks
-- What the options book at once is already in the counters.
INSERT INTO chunk (account_id, job_id, chunk_no, first_position, n, digest, next_position, failed, skipped)
SELECT %(account_id)s, %(job_id)s, chunk_no, first_position, n, digest, first_position, failed, skipped FROM deal

-- name: freeze_exclusions
-- Every row that was left out, with its value and the reason.
INSERT INTO exclusion (account_id, job_id, row_no, kind, value, reason)
SELECT %(account_id)s, %(job_id)s, f.row_no, f.kind, i.address, f.reason
FROM finding f JOIN intake i USING (row_no)
WHERE NOT EXISTS (SELECT FROM listing l WHERE l.row_no = f.row_no)

-- name: book_at_the_freeze
-- Rows that the options count but never send: unusable ones are Failed at once, duplicates are Skipped.
INSERT INTO outcome (account_id, job_id, position, attempt_no, kind, evidence, reply)
SELECT %(account_id)s, %(job_id)s, position, 0,
       CASE booked WHEN 'unusable' THEN 'failed' ELSE 'skipped' END::outcome_kind, 'freeze', reason
FROM listing WHERE booked IS NOT NULL

-- name: page_of_recipients
-- The ledger of a job from a position on. The last attempt's strongest evidence is a recipient's state; the job's status is of
-- the same instant, here and below.
SELECT r.position, r.row_no, r.address, r.fields::text AS fields,
       o.kind::text AS kind, o.evidence::text AS evidence, o.attempt_no, o.code, o.enhanced_code, o.reply, o.at,
       (SELECT status FROM job WHERE account_id = %(account_id)s AND id = %(job_id)s) AS job_status
FROM recipient r
LEFT JOIN LATERAL (
    SELECT * FROM outcome o
    WHERE o.account_id = r.account_id AND o.job_id = r.job_id AND o.position = r.position
    ORDER BY o.attempt_no DESC, o.evidence DESC LIMIT 1
) o ON true
WHERE r.account_id = %(account_id)s AND r.job_id = %(job_id)s AND r.position > %(after)s
ORDER BY r.position LIMIT %(limit)s

-- name: page_of_recipients_at_address
-- Whom a person asks for: mostly one, several only where a job sends or books duplicates. Unusable addresses have no key and are
-- found as they were given.
SELECT r.position, r.row_no, r.address, r.fields::text AS fields,
       o.kind::text AS kind, o.evidence::text AS evidence, o.attempt_no, o.code, o.enhanced_code, o.reply, o.at,
       (SELECT status FROM job WHERE account_id = %(account_id)s AND id = %(job_id)s) AS job_status
FROM recipient r
LEFT JOIN LATERAL (
    SELECT * FROM outcome o
    WHERE o.account_id = r.account_id AND o.job_id = r.job_id AND o.position = r.position
    ORDER BY o.attempt_no DESC, o.evidence DESC LIMIT 1
) o ON true
WHERE r.account_id = %(account_id)s AND r.job_id = %(job_id)s AND r.address_key = ANY(%(address_keys)s::text[])
  AND (r.address_key <> '' OR r.address = ANY(%(addresses)s::text[])) AND r.position > %(after)s
  AND (%(kind)s::text IS NULL
       OR %(kind)s = CASE WHEN o.kind IS NULL OR o.kind IN ('refused', 'released') THEN 'unsent' ELSE o.kind::text END)
ORDER BY r.position LIMIT %(limit)s

-- name: outcomes_of_recipient
-- All that became of one recipient, attempt by attempt. A row without a kind: nothing has happened to it yet.
SELECT r.address, o.attempt_no, o.kind::text AS kind, o.evidence::text AS evidence, o.code, o.enhanced_code, o.reply, o.at
FROM recipient r
LEFT JOIN outcome o ON o.account_id = r.account_id AND o.job_id = r.job_id AND o.position = r.position
WHERE r.account_id = %(account_id)s AND r.job_id = %(job_id)s AND r.position = %(position)s::bigint
ORDER BY o.attempt_no, o.evidence

-- name: page_of_recipients_by_outcome
-- Only those of one class that has rows of its own (failed, skipped, unconfirmed): found through the partial index, so
-- that three failures among a million are found at once.
SELECT r.position, r.row_no, r.address, r.fields::text AS fields,
       o.kind::text AS kind, o.evidence::text AS evidence, o.attempt_no, o.code, o.enhanced_code, o.reply, o.at,
       (SELECT status FROM job WHERE account_id = %(account_id)s AND id = %(job_id)s) AS job_status
FROM outcome o
JOIN recipient r ON r.account_id = o.account_id AND r.job_id = o.job_id AND r.position = o.position
WHERE o.account_id = %(account_id)s AND o.job_id = %(job_id)s AND o.kind = %(kind)s::outcome_kind
  AND o.kind <> 'sent' AND o.position > %(after)s
  AND NOT EXISTS (
      SELECT FROM outcome later
      WHERE later.account_id = o.account_id AND later.job_id = o.job_id AND later.position = o.position
        AND (later.attempt_no, later.evidence) > (o.attempt_no, o.evidence))
ORDER BY o.position LIMIT %(limit)s

-- name: page_of_sent_recipients
-- The sent ones, by walking the list: in a job that goes well nearly every row is one. Of a person's word and
-- the gateway's, only the last counts.
SELECT r.position, r.row_no, r.address, r.fields::text AS fields,
       o.kind::text AS kind, o.evidence::text AS evidence, o.attempt_no, o.code, o.enhanced_code, o.reply, o.at,
       (SELECT status FROM job WHERE account_id = %(account_id)s AND id = %(job_id)s) AS job_status
FROM recipient r
JOIN outcome o ON o.account_id = r.account_id AND o.job_id = r.job_id AND o.position = r.position AND o.kind = 'sent'
WHERE r.account_id = %(account_id)s AND r.job_id = %(job_id)s AND r.position > %(after)s
  AND NOT EXISTS (
      SELECT FROM outcome later
      WHERE later.account_id = o.account_id AND later.job_id = o.job_id AND later.position = o.position
        AND (later.attempt_no, later.evidence) > (o.attempt_no, o.evidence))
ORDER BY r.position LIMIT %(limit)s

-- name: page_of_unsent_recipients
-- The unsent ones; chunks in which nobody is unsent are passed over whole.
SELECT r.position, r.row_no, r.address, r.fields::text AS fields,
       o.kind::text AS kind, o.evidence::text AS evidence, o.attempt_no, o.code, o.enhanced_code, o.reply, o.at,
       (SELECT status FROM job WHERE account_id = %(account_id)s AND id = %(job_id)s) AS job_status
FROM chunk c
JOIN recipient r ON r.account_id = c.account_id AND r.job_id = c.job_id
    AND r.position BETWEEN c.first_position AND c.first_position + c.n - 1
LEFT JOIN LATERAL (
    SELECT * FROM outcome o
    WHERE o.account_id = r.account_id AND o.job_id = r.job_id AND o.position = r.position
    ORDER BY o.attempt_no DESC, o.evidence DESC LIMIT 1
) o ON true
WHERE c.account_id = %(account_id)s AND c.job_id = %(job_id)s AND c.unsent > 0
  AND r.position > %(after)s AND c.first_position + c.n - 1 > %(after)s
  AND (o.kind IS NULL OR o.kind IN ('refused', 'released'))
ORDER BY r.position LIMIT %(limit)s

-- name: page_of_exclusions
-- What was left out before the freeze.
SELECT row_no, kind, value, reason FROM exclusion
WHERE account_id = %(account_id)s AND job_id = %(job_id)s AND row_no > %(after)s
ORDER BY row_no LIMIT %(limit)s
