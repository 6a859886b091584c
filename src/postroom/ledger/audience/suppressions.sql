-- name: suppress
-- An address that the account must not mail. The first reason stands.
WITH added AS (
    INSERT INTO suppression (account_id, address_key, reason, by)
    SELECT %(account_id)s, key, %(reason)s, %(by)s FROM unnest(%(address_keys)s::text[]) AS key
    ON CONFLICT (account_id, address_key) DO NOTHING RETURNING address_key),
told AS (
    INSERT INTO suppression_event (account_id, address_key, verb, by, by_person, by_key, reason)
    SELECT %(account_id)s, address_key, 'suppress', %(by)s, %(by_person)s, %(by_key)s, %(reason)s FROM added)
SELECT count(*) FROM added

-- name: lift
-- It may be mailed again. Of two that lift it, one finds it.
WITH lifted AS (
    DELETE FROM suppression WHERE account_id = %(account_id)s AND address_key = %(address_key)s
    RETURNING address_key, reason, by, created_at),
told AS (
    INSERT INTO suppression_event (account_id, address_key, verb, by, by_person, by_key, reason)
    SELECT %(account_id)s, address_key, 'lift', %(by)s, %(by_person)s, %(by_key)s, %(reason)s FROM lifted)
SELECT address_key AS address, reason, by, created_at AS since FROM lifted

-- name: suppressions
-- In the order of the addresses: the key is the page's end. Of one address, or all.
SELECT address_key AS address, reason, by, created_at AS since FROM suppression
WHERE account_id = %(account_id)s AND address_key > %(after)s
  AND (%(address_key)s::text IS NULL OR address_key = %(address_key)s)
ORDER BY address_key LIMIT %(limit)s

-- name: events
-- All that was decided about an address, in order.
SELECT at, verb, by, reason FROM suppression_event
WHERE account_id = %(account_id)s AND address_key = %(address_key)s ORDER BY id

-- name: suppressed_among
-- For a test message, which is in no window where the same would be looked at.
SELECT address_key FROM suppression WHERE account_id = %(account_id)s AND address_key = ANY(%(address_keys)s::text[])

-- name: addressee
-- Whom a token is about, and the key that says whether it is genuine. Who was booked at the freeze was never mailed and has
-- no link.
SELECT a.id AS account_id, a.name AS account_name, a.token_key, r.address, r.address_key,
       EXISTS (SELECT FROM suppression s WHERE s.account_id = a.id AND s.address_key = r.address_key) AS is_suppressed
FROM job j JOIN account a ON a.id = j.account_id JOIN recipient r ON r.account_id = j.account_id AND r.job_id = j.id
WHERE j.id = %(job_id)s AND r.position = %(position)s AND r.booked IS NULL
