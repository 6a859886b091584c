-- name: create_link
-- What is past its time goes with it, so the table stays as small as it is.
WITH past AS (DELETE FROM sign_in_link WHERE until <= clock_timestamp())
INSERT INTO sign_in_link (token_hash, until) VALUES (%(token_hash)s, clock_timestamp() + make_interval(secs => %(seconds)s))

-- name: use_link
-- Once: of two that bring the same token, one deletes the row.
DELETE FROM sign_in_link WHERE token_hash = %(token_hash)s AND until > clock_timestamp() RETURNING 1

-- name: begin_session
-- In the transaction that uses up the link: neither happens alone.
WITH past AS (DELETE FROM operator_session WHERE until <= clock_timestamp())
INSERT INTO operator_session (cookie_hash, until)
VALUES (%(cookie_hash)s, clock_timestamp() + make_interval(secs => %(seconds)s))

-- name: has_session
-- Asked for every page, and every second of an open stream.
SELECT 1 FROM operator_session WHERE cookie_hash = %(cookie_hash)s AND until > clock_timestamp()

-- name: end_session
-- Every copy of the cookie is dead from here on.
DELETE FROM operator_session WHERE cookie_hash = %(cookie_hash)s
