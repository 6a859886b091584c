-- name: create_account
-- A tenant.
INSERT INTO account (name, approval_threshold, fields)
VALUES (%(name)s, %(approval_threshold)s, %(fields)s::json) RETURNING id

-- name: account_by_name
-- People name accounts by their name.
SELECT id, name, approval_threshold, fields::text AS fields, bounce_domain, unsubscribe_url, postal_address,
       requires_unsubscribe, requires_postal_address, retry_attempts_max, retry_deadline_s, retry_tail_s
FROM account WHERE name = %(name)s

-- name: account_by_id
-- Everything else names them by their number.
SELECT id, name, approval_threshold, fields::text AS fields, bounce_domain, unsubscribe_url, postal_address,
       requires_unsubscribe, requires_postal_address, retry_attempts_max, retry_deadline_s, retry_tail_s
FROM account WHERE id = %(account_id)s

-- name: all_accounts
-- For the operator's pages and the command line.
SELECT id, name, approval_threshold, fields::text AS fields, bounce_domain, unsubscribe_url, postal_address,
       requires_unsubscribe, requires_postal_address, retry_attempts_max, retry_deadline_s, retry_tail_s
FROM account ORDER BY name

-- name: change_account
-- Null leaves what is there, an empty text unsets it. Jobs that exist keep what they were frozen with.
UPDATE account SET approval_threshold = coalesce(%(approval_threshold)s, approval_threshold),
                   bounce_domain = nullif(coalesce(%(bounce_domain)s, bounce_domain), ''),
                   unsubscribe_url = nullif(coalesce(%(unsubscribe_url)s, unsubscribe_url), ''),
                   postal_address = nullif(coalesce(%(postal_address)s, postal_address), ''),
                   requires_unsubscribe = coalesce(%(requires_unsubscribe)s, requires_unsubscribe),
                   requires_postal_address = coalesce(%(requires_postal_address)s, requires_postal_address),
                   retry_attempts_max = coalesce(%(retry_attempts_max)s, retry_attempts_max),
                   retry_deadline_s = coalesce(%(retry_deadline_s)s, retry_deadline_s),
                   retry_tail_s = coalesce(%(retry_tail_s)s, retry_tail_s)
WHERE id = %(account_id)s
RETURNING id, name, approval_threshold, fields::text AS fields, bounce_domain, unsubscribe_url, postal_address,
          requires_unsubscribe, requires_postal_address, retry_attempts_max, retry_deadline_s, retry_tail_s

-- name: lock_account
-- The first lock of every approval, start and ending: whoever holds it decides the account's queue alone. Not FOR UPDATE:
-- a list being frozen holds its account by the foreign key, and a cancel of another job must not wait for that.
SELECT id FROM account WHERE id = %(account_id)s FOR NO KEY UPDATE

-- name: create_gateway
-- The server that an account hands its mail to.
INSERT INTO gateway (account_id, name, host, port, security, username, password, connections, signs_dkim,
                     messages_per_s, messages_per_connection, daily_quota, warm_up_from)
VALUES (%(account_id)s, %(name)s, %(host)s, %(port)s, %(security)s, %(username)s, %(password)s, %(connections)s,
        %(signs_dkim)s, %(messages_per_s)s, %(messages_per_connection)s, %(daily_quota)s, %(warm_up_from)s)
RETURNING id

-- name: replace_gateway
-- The same gateway somewhere else or with another login: jobs that wait for it go on with the new one.
UPDATE gateway SET host = %(host)s, port = %(port)s, security = %(security)s, username = %(username)s,
                   password = %(password)s, connections = %(connections)s, signs_dkim = %(signs_dkim)s,
                   messages_per_s = %(messages_per_s)s, messages_per_connection = %(messages_per_connection)s,
                   daily_quota = %(daily_quota)s, warm_up_from = %(warm_up_from)s
WHERE account_id = %(account_id)s AND name = %(name)s RETURNING id

-- name: gateways_of_account
-- The first one is the account's default.
SELECT id, name, host, port, security, username, password, connections, signs_dkim, messages_per_s, messages_per_connection,
       daily_quota, warm_up_from
FROM gateway
WHERE account_id = %(account_id)s ORDER BY id

-- name: create_api_key
-- Only the hash of the secret is kept.
INSERT INTO api_key (account_id, name, secret_hash) VALUES (%(account_id)s, %(name)s, %(secret_hash)s) RETURNING id

-- name: api_key_by_hash
-- Who is calling: a revoked key is nobody.
SELECT k.account_id, k.name, a.name AS account_name FROM api_key k JOIN account a ON a.id = k.account_id
WHERE k.secret_hash = %(secret_hash)s AND k.revoked_at IS NULL

-- name: api_keys
-- For whoever looks after them: of one account or of all, the revoked ones too.
SELECT k.id, a.name AS account_name, k.name, k.created_at, k.revoked_at FROM api_key k JOIN account a ON a.id = k.account_id
WHERE %(account_id)s::bigint IS NULL OR k.account_id = %(account_id)s ORDER BY k.id

-- name: revoke_api_key
-- For good, and the first moment stands.
UPDATE api_key k SET revoked_at = coalesce(k.revoked_at, now()) FROM account a
WHERE k.id = %(key_id)s AND (%(account_id)s::bigint IS NULL OR k.account_id = %(account_id)s) AND a.id = k.account_id
RETURNING k.id, a.name AS account_name, k.name, k.created_at, k.revoked_at

-- name: create_contact_intake
-- Contacts come in by COPY and are merged after.
CREATE TEMPORARY TABLE contact_intake (
    row_no integer NOT NULL, address text NOT NULL, address_key text NOT NULL, problem text, fields json NOT NULL
) ON COMMIT DROP

-- name: copy_contact_intake
-- The same shape as a job's intake, so that the same rows feed both.
COPY contact_intake (row_no, address, address_key, problem, fields) FROM STDIN

-- name: merge_contacts
-- An address that is known gets the new fields; the last row of an address wins.
INSERT INTO contact (account_id, address, address_key, fields)
SELECT %(account_id)s, address, address_key, fields FROM (
    SELECT DISTINCT ON (address_key) row_no, address, address_key, fields FROM contact_intake
    WHERE problem IS NULL ORDER BY address_key, row_no DESC) AS latest
ORDER BY row_no
ON CONFLICT (account_id, address_key) DO UPDATE SET address = excluded.address, fields = excluded.fields

-- name: contact_problems
-- The rows that were not taken, with the reason.
SELECT row_no, address AS value, problem AS reason FROM contact_intake WHERE problem IS NOT NULL ORDER BY row_no LIMIT 100

-- name: count_contacts
-- For the answer to an import.
SELECT count(*)::integer AS n FROM contact WHERE account_id = %(account_id)s

-- name: suppress
-- An address that the account must not mail. The first reason stands.
INSERT INTO suppression (account_id, address_key, reason)
SELECT %(account_id)s, key, %(reason)s FROM unnest(%(address_keys)s::text[]) AS key
ON CONFLICT (account_id, address_key) DO NOTHING

-- name: suppressed_among
-- For a test message, which is in no window where the same would be looked at.
SELECT address_key FROM suppression WHERE account_id = %(account_id)s AND address_key = ANY(%(address_keys)s::text[])

-- name: contact_at
-- For a look at a message before there is a job: in the order that a send to all contacts has.
SELECT address, fields::text AS fields FROM contact WHERE account_id = %(account_id)s ORDER BY id OFFSET %(before)s LIMIT 1

-- name: addressee
-- Whom a token is about, and the key that says whether it is genuine. Who was booked at the freeze was never mailed and has
-- no link.
SELECT a.id AS account_id, a.name AS account_name, a.token_key, r.address, r.address_key
FROM job j JOIN account a ON a.id = j.account_id JOIN recipient r ON r.account_id = j.account_id AND r.job_id = j.id
WHERE j.id = %(job_id)s AND r.position = %(position)s AND r.booked IS NULL
