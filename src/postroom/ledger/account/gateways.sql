-- name: create_gateway
-- The server that an account hands its mail to.
INSERT INTO gateway (account_id, name, host, port, security, username, password, connections, signs_dkim,
                     ca_certificates, oauth, messages_per_s, messages_per_connection, daily_quota, warm_up_from)
VALUES (%(account_id)s, %(name)s, %(host)s, %(port)s, %(security)s, %(username)s, %(password)s, %(connections)s,
        %(signs_dkim)s, %(ca_certificates)s, %(oauth)s, %(messages_per_s)s, %(messages_per_connection)s, %(daily_quota)s, %(warm_up_from)s)
RETURNING id

-- name: replace_gateway
-- The same gateway somewhere else or with another login: jobs that wait for it go on with the new one.
UPDATE gateway SET host = %(host)s, port = %(port)s, security = %(security)s, username = %(username)s,
                   password = %(password)s, connections = %(connections)s, signs_dkim = %(signs_dkim)s,
                   ca_certificates = %(ca_certificates)s, oauth = %(oauth)s,
                   messages_per_s = %(messages_per_s)s, messages_per_connection = %(messages_per_connection)s,
                   daily_quota = %(daily_quota)s, warm_up_from = %(warm_up_from)s
WHERE account_id = %(account_id)s AND name = %(name)s RETURNING id

-- name: renew_oauth
-- A token endpoint gave another refresh token in exchange. What is sealed is like no other, so it names its gateway.
UPDATE gateway SET oauth = %(new)s WHERE oauth = %(old)s

-- name: gateways_of_account
-- The first one is the account's default.
SELECT id, name, host, port, security, username, password, connections, signs_dkim, ca_certificates, oauth, messages_per_s,
       messages_per_connection, daily_quota, warm_up_from
FROM gateway
WHERE account_id = %(account_id)s ORDER BY id
