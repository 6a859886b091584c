-- name: suppress
-- An address that the account must not mail. The first reason stands.
INSERT INTO suppression (account_id, address_key, reason)
SELECT %(account_id)s, key, %(reason)s FROM unnest(%(address_keys)s::text[]) AS key
ON CONFLICT (account_id, address_key) DO NOTHING

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
