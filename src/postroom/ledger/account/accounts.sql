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

-- name: hold_account
-- For a list that is being frozen: neither the account nor what the job is made of is deleted meanwhile.
SELECT id FROM account WHERE id = %(account_id)s FOR KEY SHARE

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
