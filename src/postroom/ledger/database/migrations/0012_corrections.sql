-- A job that is changed before it is sent says which one takes its place: nobody's rest goes on in both. And how its list was read
-- comes back to the form with all that was written.
ALTER TABLE job
    ADD COLUMN corrects bigint,
    ADD COLUMN read_as json NOT NULL DEFAULT '{}',
    ADD CONSTRAINT it_corrects_a_job_of_the_account FOREIGN KEY (account_id, corrects) REFERENCES job (account_id, id);

CREATE UNIQUE INDEX a_job_is_corrected_once ON job (account_id, corrects) WHERE corrects IS NOT NULL;

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
            OLD.field_policy, OLD.continues, OLD.continued_class, OLD.corrects, OLD.read_as::text)
           IS DISTINCT FROM
           (NEW.id, NEW.account_id, NEW.gateway_id, NEW.subject, NEW.content::text, NEW.account_fields::text, NEW.duplicates,
            NEW.unusable_addresses, NEW.recipient_count, NEW.excluded_duplicates, NEW.excluded_unusable,
            NEW.excluded_suppressed, NEW.lanes, NEW.approval_threshold, NEW.digest, NEW.message_key,
            NEW.created_by, NEW.created_at, NEW.created_in, NEW.bodies::text, NEW.identity::text, NEW.dkim_keys,
            NEW.field_policy, NEW.continues, NEW.continued_class, NEW.corrects, NEW.read_as::text) THEN
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
