-- name: create_domain
-- A domain that an account sends from.
INSERT INTO sending_domain (account_id, domain) VALUES (%(account_id)s, %(domain)s) RETURNING id

-- name: create_key
-- One of its keys; the private half is sealed before it comes here.
INSERT INTO dkim_key (account_id, domain_id, selector, algorithm, private_key, public_key)
VALUES (%(account_id)s, %(domain_id)s, %(selector)s, %(algorithm)s, %(private_key)s, %(public_key)s)

-- name: keys_of_account
-- Every domain of the account with its keys: a domain is made together with them, so none is without.
SELECT k.id, d.domain, k.selector, k.algorithm, k.private_key, k.public_key, k.created_at
FROM sending_domain d JOIN dkim_key k ON k.account_id = d.account_id AND k.domain_id = d.id
WHERE d.account_id = %(account_id)s ORDER BY d.domain, k.id

-- name: keys_for
-- The keys that sign for a From domain: its own, or else those of the nearest domain above it that the account sends from.
SELECT k.id, d.domain, k.selector, k.algorithm, k.private_key, k.public_key, k.created_at
FROM sending_domain d JOIN dkim_key k ON k.account_id = d.account_id AND k.domain_id = d.id
WHERE d.account_id = %(account_id)s AND d.domain = (
    SELECT domain FROM sending_domain
    WHERE account_id = %(account_id)s AND right('.' || %(from_domain)s::text, length(domain) + 1) = '.' || domain
    ORDER BY length(domain) DESC LIMIT 1)
ORDER BY k.id

-- name: keys_by_id
-- The keys that a job was frozen with. The account is asked for too: no job signs with the key of another.
SELECT k.id, d.domain, k.selector, k.algorithm, k.private_key, k.public_key, k.created_at
FROM dkim_key k JOIN sending_domain d ON d.account_id = k.account_id AND d.id = k.domain_id
WHERE k.account_id = %(account_id)s AND k.id = ANY(%(key_ids)s) ORDER BY k.id
