-- The message: what an account says of itself, sending domains and their keys, attachments, and what is checked at the freeze.

ALTER TABLE account
    ADD COLUMN bounce_domain text,
    ADD COLUMN unsubscribe_url text,
    ADD COLUMN postal_address text,
    ADD COLUMN requires_unsubscribe boolean NOT NULL DEFAULT false,
    ADD COLUMN requires_postal_address boolean NOT NULL DEFAULT false,
    ADD COLUMN token_key bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid());

ALTER TABLE gateway ADD COLUMN signs_dkim boolean NOT NULL DEFAULT false;

CREATE TABLE sending_domain (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id  bigint NOT NULL REFERENCES account,
    domain      text NOT NULL,     -- A-labels, lower case
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT sending_domain_is_taken UNIQUE (account_id, domain),
    CONSTRAINT sending_domain_of_account UNIQUE (account_id, id)
);

CREATE TABLE dkim_key (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id   bigint NOT NULL,
    domain_id    bigint NOT NULL,
    selector     text NOT NULL,
    algorithm    text NOT NULL CONSTRAINT dkim_algorithm_is_known CHECK (algorithm IN ('rsa-sha256', 'ed25519-sha256')),
    private_key  bytea NOT NULL,    -- AES-256-GCM, as gateway passwords
    public_key   text NOT NULL,     -- base64, as it stands in the DNS record
    created_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT dkim_selector_is_taken UNIQUE (account_id, domain_id, selector),
    FOREIGN KEY (account_id, domain_id) REFERENCES sending_domain (account_id, id)
);

-- Files that messages carry, each content once for an account however many jobs it goes with.
CREATE TABLE attachment (
    account_id  bigint NOT NULL REFERENCES account,
    digest      bytea NOT NULL CONSTRAINT attachment_digest_is_sha256 CHECK (digest = sha256(octets)),
    octets      bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, digest)
);

CREATE TRIGGER attachment_is_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON attachment EXECUTE FUNCTION refuse_a_change();

ALTER TABLE job
    ADD COLUMN bodies json,
    ADD COLUMN identity json NOT NULL DEFAULT '{}',
    ADD COLUMN dkim_keys bigint[] NOT NULL DEFAULT '{}',
    ADD COLUMN field_policy text NOT NULL DEFAULT 'blank' CONSTRAINT field_policy_is_known
        CHECK (field_policy IN ('refuse', 'fail', 'blank'));

-- Jobs of before are rendered from what was written; one without a text part has none from here on. Those that are over are
-- final, but for this one addition.
ALTER TABLE job DISABLE TRIGGER job_is_guarded;
UPDATE job SET bodies = json_build_object('html', content -> 'html', 'text', content -> 'text');
ALTER TABLE job ENABLE TRIGGER job_is_guarded;
ALTER TABLE job ALTER COLUMN bodies SET NOT NULL;

-- What was found when every recipient was rendered once, at the freeze. A row for each chunk, and one (chunk -1) for the
-- message as a whole; `findings` is null until it was looked at. Nothing is approved before all of it was. `refuses` holds what
-- one look decides; what only all of them together show (a field that nobody has, nobody who would get it) the flow refuses.
CREATE TABLE preflight (
    account_id   bigint NOT NULL,
    job_id       bigint NOT NULL,
    chunk_no     integer NOT NULL,
    n            integer NOT NULL,     -- recipients that it covers
    lease_until  timestamptz,
    findings     json,
    refuses      boolean NOT NULL DEFAULT false,
    checked_at   timestamptz,
    PRIMARY KEY (account_id, job_id, chunk_no),
    FOREIGN KEY (account_id, job_id) REFERENCES job (account_id, id),
    CONSTRAINT what_was_checked_has_findings CHECK ((findings IS NULL) = (checked_at IS NULL)),
    CONSTRAINT only_what_was_checked_refuses CHECK (findings IS NOT NULL OR NOT refuses)
);

CREATE INDEX preflight_to_do ON preflight (account_id, job_id, chunk_no) WHERE findings IS NULL;

-- Jobs that wait at the gate are looked at like any other.
INSERT INTO preflight (account_id, job_id, chunk_no, n)
SELECT c.account_id, c.job_id, c.chunk_no, c.n FROM chunk c JOIN job j ON j.account_id = c.account_id AND j.id = c.job_id
WHERE j.status = 'pending_approval';

CREATE OR REPLACE VIEW job_overview AS
SELECT j.id, j.account_id, a.name AS account_name, j.status, j.subject, j.recipient_count, j.created_by, j.created_at,
       j.started_at, j.ended_at, j.not_before, j.reason, j.digest, j.duplicates, j.unusable_addresses, j.lanes,
       j.excluded_duplicates, j.excluded_unusable, j.excluded_suppressed, j.approval_threshold,
       p.approved_by, p.approved_at, c.sent, c.failed, c.skipped, c.unconfirmed, c.unsent, c.in_hand, c.due_at,
       EXISTS (SELECT FROM procrastinate_workers WHERE last_heartbeat > now() - interval '5 seconds') AS a_worker_runs,
       CASE WHEN j.status = 'queued' THEN
           (SELECT count(*) FROM job q WHERE q.account_id = j.account_id AND q.status = 'queued'
              AND q.queue_no <= j.queue_no AND (q.id = j.id OR q.not_before IS NULL OR q.not_before <= now())
           )::integer END AS queue_position,
       w.kind AS waits_for, w.reason AS waits_because, w.since AS waits_since, w.until AS waits_until,
       j.field_policy, f.to_check, coalesce(f.checked, 0) AS checked
FROM job j
JOIN account a ON a.id = j.account_id
LEFT JOIN approval p ON p.account_id = j.account_id AND p.job_id = j.id
CROSS JOIN LATERAL (
    SELECT sum(sent)::integer AS sent, sum(failed)::integer AS failed, sum(skipped)::integer AS skipped,
           sum(unconfirmed)::integer AS unconfirmed, sum(unsent)::integer AS unsent,
           (count(*) FILTER (WHERE window_open))::integer AS in_hand,
           CASE WHEN count(*) FILTER (WHERE unsent > 0 AND available_at IS NULL) = 0
                THEN min(available_at) FILTER (WHERE unsent > 0) END AS due_at
    FROM chunk WHERE account_id = j.account_id AND job_id = j.id) c
LEFT JOIN LATERAL (
    SELECT * FROM job_condition w WHERE w.account_id = j.account_id AND w.job_id = j.id AND j.status = 'sending'
    ORDER BY kind LIMIT 1) w ON true
LEFT JOIN LATERAL (
    SELECT sum(n)::integer AS to_check, (sum(n) FILTER (WHERE findings IS NOT NULL))::integer AS checked
    FROM preflight WHERE account_id = j.account_id AND job_id = j.id AND j.status = 'pending_approval') f ON true;

CREATE OR REPLACE FUNCTION guard_job() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    origin text := CASE TG_OP WHEN 'INSERT' THEN 'new' ELSE OLD.status END;
    left_over bigint;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.status IN ('completed', 'cancelled', 'failed') THEN
            RAISE EXCEPTION 'job % is %, which is final', OLD.id, OLD.status USING ERRCODE = 'restrict_violation';
        END IF;
        IF (OLD.id, OLD.account_id, OLD.gateway_id, OLD.subject, OLD.content::text, OLD.account_fields::text, OLD.duplicates,
            OLD.unusable_addresses, OLD.recipient_count, OLD.excluded_duplicates, OLD.excluded_unusable,
            OLD.excluded_suppressed, OLD.lanes, OLD.approval_threshold, OLD.digest, OLD.message_key,
            OLD.created_by, OLD.created_at, OLD.created_in, OLD.bodies::text, OLD.identity::text, OLD.dkim_keys,
            OLD.field_policy)
           IS DISTINCT FROM
           (NEW.id, NEW.account_id, NEW.gateway_id, NEW.subject, NEW.content::text, NEW.account_fields::text, NEW.duplicates,
            NEW.unusable_addresses, NEW.recipient_count, NEW.excluded_duplicates, NEW.excluded_unusable,
            NEW.excluded_suppressed, NEW.lanes, NEW.approval_threshold, NEW.digest, NEW.message_key,
            NEW.created_by, NEW.created_at, NEW.created_in, NEW.bodies::text, NEW.identity::text, NEW.dkim_keys,
            NEW.field_policy) THEN
            RAISE EXCEPTION 'job %: list, content and options are frozen', OLD.id USING ERRCODE = 'restrict_violation';
        END IF;
    END IF;
    IF origin <> NEW.status THEN
        IF NOT EXISTS (SELECT FROM job_transition WHERE from_status = origin AND to_status = NEW.status) THEN
            RAISE EXCEPTION 'a job does not go from % to %', origin, NEW.status
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'job_transition';
        END IF;
        IF origin = 'pending_approval' AND NEW.status = 'queued' AND EXISTS (
            SELECT FROM preflight WHERE account_id = NEW.account_id AND job_id = NEW.id AND (findings IS NULL OR refuses)) THEN
            RAISE EXCEPTION 'job % was not checked for every recipient, or was found unfit to send', NEW.id
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'an_approved_job_was_checked';
        END IF;
        IF NEW.status = 'completed' THEN
            SELECT coalesce(sum(unsent), -1) + count(*) FILTER (WHERE window_open) INTO left_over
                FROM chunk WHERE account_id = NEW.account_id AND job_id = NEW.id;
            IF left_over <> 0 THEN
                RAISE EXCEPTION 'job % is not complete: % recipients unsent or in hand', NEW.id, left_over
                    USING ERRCODE = 'restrict_violation', CONSTRAINT = 'a_completed_job_has_nothing_unsent';
            END IF;
        END IF;
    END IF;
    RETURN NEW;
END $$;
