-- name: keep_attachment
-- The same file goes with many jobs and is kept once.
INSERT INTO attachment (account_id, digest, octets) VALUES (%(account_id)s, %(digest)s, %(octets)s)
ON CONFLICT (account_id, digest) DO NOTHING

-- name: attachments
-- For whoever compiles a job's message.
SELECT digest, octets FROM attachment WHERE account_id = %(account_id)s AND digest = ANY(%(digests)s::bytea[])
