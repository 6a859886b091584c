-- Who acts is recorded by number, beside the name as it was: the person, or the one behind the key, and the key.
ALTER TABLE job ADD COLUMN created_by_person bigint, ADD COLUMN created_by_key bigint,
    ADD COLUMN moved_by_person bigint, ADD COLUMN moved_by_key bigint;
ALTER TABLE job_event ADD COLUMN by_person bigint, ADD COLUMN by_key bigint;
ALTER TABLE approval ADD COLUMN by_person bigint, ADD COLUMN by_key bigint;
ALTER TABLE suppression_event ADD COLUMN by_person bigint, ADD COLUMN by_key bigint;
ALTER TABLE account_deletion ADD COLUMN by_person bigint, ADD COLUMN by_key bigint;

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
            OLD.field_policy, OLD.continues, OLD.continued_class, OLD.corrects, OLD.read_as::text, OLD.created_by_person,
            OLD.created_by_key)
           IS DISTINCT FROM
           (NEW.id, NEW.account_id, NEW.gateway_id, NEW.subject, NEW.content::text, NEW.account_fields::text, NEW.duplicates,
            NEW.unusable_addresses, NEW.recipient_count, NEW.excluded_duplicates, NEW.excluded_unusable,
            NEW.excluded_suppressed, NEW.lanes, NEW.approval_threshold, NEW.digest, NEW.message_key,
            NEW.created_by, NEW.created_at, NEW.created_in, NEW.bodies::text, NEW.identity::text, NEW.dkim_keys,
            NEW.field_policy, NEW.continues, NEW.continued_class, NEW.corrects, NEW.read_as::text, NEW.created_by_person,
            NEW.created_by_key) THEN
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

CREATE OR REPLACE FUNCTION record_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO job_event (account_id, job_id, verb, from_status, to_status, by, by_person, by_key, reason)
        VALUES (NEW.account_id, NEW.id, 'submit', NULL, NEW.status, NEW.moved_by, NEW.moved_by_person, NEW.moved_by_key,
                NEW.reason);
    ELSIF OLD.status = NEW.status THEN
        RETURN NULL;
    ELSE
        INSERT INTO job_event (account_id, job_id, verb, from_status, to_status, by, by_person, by_key, reason)
        SELECT NEW.account_id, NEW.id, t.verb, OLD.status, NEW.status, NEW.moved_by, NEW.moved_by_person, NEW.moved_by_key,
               NEW.reason
        FROM job_transition t WHERE t.from_status = OLD.status AND t.to_status = NEW.status;
    END IF;
    PERFORM pg_notify('postroom_job', NEW.account_id || ' ' || NEW.id || ' ' || NEW.status);
    RETURN NULL;
END $$;
