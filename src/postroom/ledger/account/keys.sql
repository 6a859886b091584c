-- name: create_api_key
-- Only the hash of the secret is kept.
INSERT INTO api_key (account_id, name, secret_hash) VALUES (%(account_id)s, %(name)s, %(secret_hash)s) RETURNING id

-- name: api_key_by_hash
-- Who is calling: a revoked key is nobody.
SELECT k.id, k.account_id, k.name FROM api_key k WHERE k.secret_hash = %(secret_hash)s AND k.revoked_at IS NULL

-- name: api_keys
-- For whoever looks after them, the revoked ones too.
SELECT k.id, a.name AS account_name, k.name, k.created_at, k.revoked_at FROM api_key k JOIN account a ON a.id = k.account_id
WHERE k.account_id = %(account_id)s ORDER BY k.id

-- name: revoke_api_key
-- For good, and the first moment stands.
UPDATE api_key k SET revoked_at = coalesce(k.revoked_at, now()) FROM account a
WHERE k.id = %(key_id)s AND k.account_id = %(account_id)s AND a.id = k.account_id
RETURNING k.id, a.name AS account_name, k.name, k.created_at, k.revoked_at
