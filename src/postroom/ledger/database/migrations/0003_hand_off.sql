-- The hand-off, proven: pace, pauses, continuations, evidence of persons and journals, the restore guard and the auditor.

ALTER TABLE account
    ADD COLUMN retry_attempts_max integer NOT NULL DEFAULT 10
        CONSTRAINT retry_attempts_are_few CHECK (retry_attempts_max BETWEEN 1 AND 100),
    ADD COLUMN retry_deadline_s integer NOT NULL DEFAULT 14400 CONSTRAINT retry_deadline_is_positive CHECK (retry_deadline_s > 0),
    ADD COLUMN retry_tail_s integer NOT NULL DEFAULT 1800 CONSTRAINT retry_tail_is_positive CHECK (retry_tail_s > 0);

ALTER TABLE gateway
    ADD COLUMN messages_per_s real CONSTRAINT gateway_rate_is_positive CHECK (messages_per_s > 0),
    ADD COLUMN messages_per_connection integer
        CONSTRAINT gateway_messages_per_connection_is_positive CHECK (messages_per_connection > 0),
    ADD COLUMN daily_quota integer CONSTRAINT gateway_quota_is_positive CHECK (daily_quota > 0),
    ADD COLUMN warm_up_from integer CONSTRAINT gateway_warm_up_is_positive CHECK (warm_up_from > 0);

CREATE TABLE gateway_pace (
    gateway_id   bigint PRIMARY KEY REFERENCES gateway,
    rate         double precision CONSTRAINT pace_is_positive CHECK (rate > 0),  -- messages a second; null: as many as it takes
    because      text,                 -- what the gateway said when it was slowed
    slowed_at    timestamptz,
    tokens       double precision NOT NULL DEFAULT 0,   -- of the token bucket, at refilled_at
    refilled_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    day          date NOT NULL DEFAULT (clock_timestamp() AT TIME ZONE 'UTC')::date,
    taken_today  integer NOT NULL DEFAULT 0,    -- permits of that day, in UTC; what the quota counts
    first_day    date,                          -- of the warm-up
    connections  integer CONSTRAINT pace_of_connections_is_positive CHECK (connections > 0),  -- below the gateway's own; or null
    connections_at  timestamptz,
    CONSTRAINT a_slowed_gateway_has_a_reason CHECK (rate IS NULL OR (because IS NOT NULL AND slowed_at IS NOT NULL))
);

CREATE TABLE gateway_session (
    gateway_id  bigint NOT NULL REFERENCES gateway,
    slot        integer NOT NULL,
    owner       text NOT NULL,
    until       timestamptz NOT NULL,
    PRIMARY KEY (gateway_id, slot)
);

ALTER TABLE job
    ADD COLUMN continues bigint,
    ADD COLUMN continued_class text
        CONSTRAINT continued_class_is_known CHECK (continued_class IN ('unsent', 'failed', 'unconfirmed')),
    ADD CONSTRAINT it_continues_a_job_of_the_account FOREIGN KEY (account_id, continues) REFERENCES job (account_id, id),
    ADD CONSTRAINT a_continuation_says_of_whom CHECK ((continues IS NULL) = (continued_class IS NULL));

CREATE INDEX job_by_its_end ON job (ended_at);
CREATE INDEX continuations ON job (account_id, continues) WHERE continues IS NOT NULL;

-- A throttled gateway is slowed for everybody now (gateway_pace); the job's own condition of that name is no more.
DELETE FROM job_condition WHERE kind = 'throttled';
ALTER TABLE job_condition
    ADD COLUMN by text NOT NULL DEFAULT 'postroom',
    DROP CONSTRAINT condition_is_known,
    ADD CONSTRAINT condition_is_known CHECK (kind IN ('paused', 'journal', 'gateway', 'quota', 'retries', 'alarm'));

ALTER TABLE chunk ADD COLUMN audited_at timestamptz;

ALTER TYPE outcome_evidence ADD VALUE 'crash_after_dot' AFTER 'lease_lost';
ALTER TYPE outcome_evidence ADD VALUE 'person' AFTER 'suppression';
-- A new value cannot be named before this is committed; it stands between the other two.
ALTER TABLE outcome
    DROP CONSTRAINT sent_is_only_what_the_gateway_accepted,
    ADD CONSTRAINT sent_is_only_what_the_gateway_accepted
        CHECK (kind <> 'sent' OR (evidence > 'suppression' AND evidence < 'reply')
               OR (evidence = 'reply' AND code IS NOT NULL AND code BETWEEN 200 AND 299));

ALTER TABLE retry ADD COLUMN since timestamptz NOT NULL DEFAULT clock_timestamp();

CREATE TABLE installation (
    is_the_only_one  boolean PRIMARY KEY DEFAULT true CONSTRAINT there_is_one_installation CHECK (is_the_only_one),
    id               uuid NOT NULL DEFAULT gen_random_uuid(),
    beat             bigint NOT NULL DEFAULT 0
);

INSERT INTO installation DEFAULT VALUES;

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
       j.field_policy, f.to_check, coalesce(f.checked, 0) AS checked, j.continues, j.continued_class,
       u.by AS paused_by, u.since AS paused_since, u.reason AS paused_because, e.reason AS alarm,
       s.rate AS slowed_to, s.because AS slowed_because, s.slowed_at, g.messages_per_s AS limit_per_s, t.until AS retries_until
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
        AND w.kind IN ('journal', 'gateway', 'quota')
    ORDER BY until DESC LIMIT 1) w ON true
LEFT JOIN LATERAL (
    SELECT sum(n)::integer AS to_check, (sum(n) FILTER (WHERE findings IS NOT NULL))::integer AS checked
    FROM preflight WHERE account_id = j.account_id AND job_id = j.id AND j.status = 'pending_approval') f ON true
LEFT JOIN job_condition u ON u.account_id = j.account_id AND u.job_id = j.id AND u.kind = 'paused'
    AND j.status IN ('pending_approval', 'queued', 'sending')
LEFT JOIN job_condition e ON e.account_id = j.account_id AND e.job_id = j.id AND e.kind = 'alarm'
LEFT JOIN job_condition t ON t.account_id = j.account_id AND t.job_id = j.id AND t.kind = 'retries' AND j.status = 'sending'
LEFT JOIN gateway g ON g.id = j.gateway_id AND j.status = 'sending'
LEFT JOIN gateway_pace s ON s.gateway_id = g.id;

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
            OLD.field_policy, OLD.continues, OLD.continued_class)
           IS DISTINCT FROM
           (NEW.id, NEW.account_id, NEW.gateway_id, NEW.subject, NEW.content::text, NEW.account_fields::text, NEW.duplicates,
            NEW.unusable_addresses, NEW.recipient_count, NEW.excluded_duplicates, NEW.excluded_unusable,
            NEW.excluded_suppressed, NEW.lanes, NEW.approval_threshold, NEW.digest, NEW.message_key,
            NEW.created_by, NEW.created_at, NEW.created_in, NEW.bodies::text, NEW.identity::text, NEW.dkim_keys,
            NEW.field_policy, NEW.continues, NEW.continued_class) THEN
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
