-- name: job_content
-- The message and what it is sent with.
SELECT j.id, j.account_id, j.content::text AS content, j.bodies::text AS bodies, j.identity::text AS identity,
       j.account_fields::text AS account_fields, j.message_key, a.token_key, j.dkim_keys, j.field_policy, j.started_at, j.lanes,
       a.retry_attempts_max, j.gateway_id, g.host, g.port, g.security, g.username, g.password,
       g.ca_certificates, g.oauth
FROM job j JOIN gateway g ON g.account_id = j.account_id AND g.id = j.gateway_id JOIN account a ON a.id = j.account_id
WHERE j.account_id = %(account_id)s AND j.id = %(job_id)s
