-- name: wait_briefly
-- For a list that is being taken in, which holds its account: it may take minutes.
SELECT set_config('lock_timeout', '5s', true)

-- name: lock_account_alone
-- Nothing of it is made, frozen, approved or started until this is over.
SELECT name FROM account WHERE id = %(account_id)s FOR UPDATE

-- name: holdings
-- All that goes with an account.
SELECT (SELECT count(*) FROM job WHERE account_id = %(account_id)s) AS jobs,
       (SELECT coalesce(sum(recipient_count), 0)::bigint FROM job WHERE account_id = %(account_id)s) AS recipients,
       (SELECT count(*) FROM contact WHERE account_id = %(account_id)s) AS contacts,
       (SELECT count(*) FROM suppression WHERE account_id = %(account_id)s) AS suppressions,
       (SELECT count(*) FROM gateway WHERE account_id = %(account_id)s) AS gateways,
       (SELECT count(*) FROM sending_domain WHERE account_id = %(account_id)s) AS domains,
       (SELECT count(*) FROM api_key WHERE account_id = %(account_id)s AND revoked_at IS NULL) AS keys

-- name: active_jobs
-- That are not over, or of which a worker still has somebody in hand: all of an account, of a gateway, or signed for a domain.
SELECT j.id, j.status FROM job j
WHERE j.account_id = %(account_id)s
  AND (j.status IN ('pending_approval', 'queued', 'sending')
       OR EXISTS (SELECT FROM chunk c WHERE c.account_id = j.account_id AND c.job_id = j.id AND c.window_open))
  AND (%(gateway_id)s::bigint IS NULL OR j.gateway_id = %(gateway_id)s)
  AND (%(domain_id)s::bigint IS NULL OR j.dkim_keys && ARRAY(
       SELECT id FROM dkim_key WHERE account_id = %(account_id)s AND domain_id = %(domain_id)s))
ORDER BY j.id

-- name: record
-- What is remembered of it; and its rows, which nobody else may delete, may go from here to the end of this transaction.
WITH named AS (SELECT set_config('postroom.deleted_account', %(account_id)s::bigint::text, true))
INSERT INTO account_deletion (account_id, name, by, by_person, by_key, recipients, jobs)
SELECT a.id, a.name, %(by)s, %(by_person)s::bigint, %(by_key)s::bigint, coalesce(sum(j.recipient_count), 0), coalesce(array_agg(j.id) FILTER (WHERE j.id IS NOT NULL), '{}')
FROM named CROSS JOIN account a LEFT JOIN job j ON j.account_id = a.id WHERE a.id = %(account_id)s GROUP BY a.id

-- name: delete_account
-- In one statement: what refers to what is looked at when all of it is gone.
WITH t1 AS (DELETE FROM retry WHERE account_id = %(account_id)s), t2 AS (DELETE FROM outcome WHERE account_id = %(account_id)s),
     t3 AS (DELETE FROM hand_off_window WHERE account_id = %(account_id)s),
     t4 AS (DELETE FROM recipient WHERE account_id = %(account_id)s), t5 AS (DELETE FROM exclusion WHERE account_id = %(account_id)s),
     t6 AS (DELETE FROM preflight WHERE account_id = %(account_id)s), t7 AS (DELETE FROM chunk WHERE account_id = %(account_id)s),
     t8 AS (DELETE FROM job_condition WHERE account_id = %(account_id)s),
     t9 AS (DELETE FROM job_event WHERE account_id = %(account_id)s), t10 AS (DELETE FROM approval WHERE account_id = %(account_id)s),
     t11 AS (DELETE FROM idempotency_key WHERE account_id = %(account_id)s),
     t12 AS (DELETE FROM job WHERE account_id = %(account_id)s),
     t13 AS (DELETE FROM attachment WHERE account_id = %(account_id)s), t14 AS (DELETE FROM contact WHERE account_id = %(account_id)s),
     t15 AS (DELETE FROM suppression WHERE account_id = %(account_id)s),
     t16 AS (DELETE FROM suppression_event WHERE account_id = %(account_id)s),
     t17 AS (DELETE FROM dkim_key WHERE account_id = %(account_id)s),
     t18 AS (DELETE FROM sending_domain WHERE account_id = %(account_id)s),
     t19 AS (DELETE FROM gateway_session s USING gateway g WHERE g.account_id = %(account_id)s AND s.gateway_id = g.id),
     t20 AS (DELETE FROM gateway_pace p USING gateway g WHERE g.account_id = %(account_id)s AND p.gateway_id = g.id),
     t21 AS (DELETE FROM gateway WHERE account_id = %(account_id)s), t22 AS (DELETE FROM api_key WHERE account_id = %(account_id)s)
DELETE FROM account WHERE id = %(account_id)s

-- name: gateway_named
-- And how many jobs of the history name it.
SELECT g.id, (SELECT count(*) FROM job j WHERE j.account_id = g.account_id AND j.gateway_id = g.id)
FROM gateway g WHERE g.account_id = %(account_id)s AND g.name = %(name)s

-- name: delete_gateway
-- With its pace, and slots that may be left of test messages.
WITH pace AS (DELETE FROM gateway_pace WHERE gateway_id = %(gateway_id)s),
     slots AS (DELETE FROM gateway_session WHERE gateway_id = %(gateway_id)s)
DELETE FROM gateway WHERE account_id = %(account_id)s AND id = %(gateway_id)s

-- name: domain_named
-- As it stands in DNS.
SELECT id FROM sending_domain WHERE account_id = %(account_id)s AND domain = %(domain)s

-- name: delete_domain
-- With its keys: they sign nothing more, and cannot be made again.
WITH keys AS (DELETE FROM dkim_key WHERE account_id = %(account_id)s AND domain_id = %(domain_id)s)
DELETE FROM sending_domain WHERE account_id = %(account_id)s AND id = %(domain_id)s
