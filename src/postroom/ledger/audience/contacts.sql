-- name: create_contact_intake
-- Contacts come in by COPY and are merged after.
CREATE TEMPORARY TABLE contact_intake (
    row_no integer NOT NULL, address text NOT NULL, address_key text NOT NULL, problem text, fields json NOT NULL
) ON COMMIT DROP

-- name: copy_contact_intake
-- The same shape as a job's intake, so that the same rows feed both.
COPY contact_intake (row_no, address, address_key, problem, fields) FROM STDIN

-- name: merge_contacts
-- An address that is known gets the new fields; the last row of an address wins, unless one takes it off.
INSERT INTO contact (account_id, address, address_key, fields)
SELECT %(account_id)s, address, address_key, fields FROM (
    SELECT DISTINCT ON (address_key) row_no, address, address_key, fields FROM contact_intake i
    WHERE problem IS NULL
      AND NOT EXISTS (SELECT FROM contact_intake off WHERE off.address_key = i.address_key AND off.problem IS NOT NULL)
    ORDER BY address_key, row_no DESC) AS latest
ORDER BY row_no
ON CONFLICT (account_id, address_key) DO UPDATE SET address = excluded.address, fields = excluded.fields

-- name: suppress_opted_out
-- Whose own row says that they are out: they may be contacts from before. The first row that says so is the reason. An import never
-- lifts anything.
WITH said AS (
    SELECT DISTINCT ON (address_key) address_key, %(source)s::text || problem AS reason FROM contact_intake
    WHERE problem IS NOT NULL AND address_key <> '' ORDER BY address_key, row_no),
added AS (
    INSERT INTO suppression (account_id, address_key, reason, by)
    SELECT %(account_id)s, address_key, reason, %(by)s FROM said
    ON CONFLICT (account_id, address_key) DO NOTHING RETURNING address_key, reason),
told AS (
    INSERT INTO suppression_event (account_id, address_key, verb, by, by_person, by_key, reason)
    SELECT %(account_id)s, address_key, 'suppress', %(by)s, %(by_person)s, %(by_key)s, reason FROM added)
SELECT count(*) FROM added

-- name: contact_problems
-- The rows that were not taken, with the reason.
SELECT row_no, address AS value, problem AS reason FROM contact_intake WHERE problem IS NOT NULL ORDER BY row_no LIMIT 100

-- name: count_contacts
-- For the answer to an import.
SELECT count(*)::integer AS n FROM contact WHERE account_id = %(account_id)s

-- name: contact_at
-- For a look at a message before there is a job: in the order that a send to all contacts has.
SELECT address, fields::text AS fields FROM contact WHERE account_id = %(account_id)s ORDER BY id OFFSET %(before)s LIMIT 1

-- name: delete_contact
-- From the account's list alone: jobs have copies of their own, and an opt-out stands by the address.
DELETE FROM contact WHERE account_id = %(account_id)s AND address_key = %(address_key)s
