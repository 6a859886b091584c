-- Opt-outs can be lifted: who, when and why stays, of each that came and went. The default is for processes of the version before.
ALTER TABLE suppression ADD COLUMN by text NOT NULL DEFAULT 'not recorded';

CREATE TABLE suppression_event (
    account_id   bigint NOT NULL REFERENCES account,
    id           bigint GENERATED ALWAYS AS IDENTITY,
    address_key  text NOT NULL,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    verb         text NOT NULL CONSTRAINT suppression_verb_is_known CHECK (verb IN ('suppress', 'lift')),
    by           text NOT NULL,
    reason       text NOT NULL,
    PRIMARY KEY (account_id, id)
);

CREATE INDEX suppression_event_of_an_address ON suppression_event (account_id, address_key, id);

INSERT INTO suppression_event (account_id, address_key, at, verb, by, reason)
SELECT account_id, address_key, created_at, 'suppress', by, reason FROM suppression ORDER BY account_id, created_at;

-- An account can be deleted with all that is its own, and nothing of it alone: the transaction that does it names the account.
CREATE TABLE account_deletion (
    account_id  bigint PRIMARY KEY,
    name        text NOT NULL,
    by          text NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    recipients  bigint NOT NULL,
    jobs        bigint[] NOT NULL
);

DROP TRIGGER recipient_is_frozen ON recipient;
CREATE TRIGGER recipient_is_frozen BEFORE UPDATE OR TRUNCATE ON recipient EXECUTE FUNCTION refuse_a_change();
DROP TRIGGER exclusion_is_frozen ON exclusion;
CREATE TRIGGER exclusion_is_frozen BEFORE UPDATE OR TRUNCATE ON exclusion EXECUTE FUNCTION refuse_a_change();
DROP TRIGGER outcome_is_appended ON outcome;
CREATE TRIGGER outcome_is_appended BEFORE UPDATE OR TRUNCATE ON outcome EXECUTE FUNCTION refuse_a_change();
DROP TRIGGER window_is_appended ON hand_off_window;
CREATE TRIGGER window_is_appended BEFORE UPDATE OR TRUNCATE ON hand_off_window EXECUTE FUNCTION refuse_a_change();
DROP TRIGGER job_event_is_appended ON job_event;
CREATE TRIGGER job_event_is_appended BEFORE UPDATE OR TRUNCATE ON job_event EXECUTE FUNCTION refuse_a_change();
DROP TRIGGER approval_is_appended ON approval;
CREATE TRIGGER approval_is_appended BEFORE UPDATE OR TRUNCATE ON approval EXECUTE FUNCTION refuse_a_change();
DROP TRIGGER job_is_kept ON job;
CREATE TRIGGER job_is_kept BEFORE TRUNCATE ON job EXECUTE FUNCTION refuse_a_change();
DROP TRIGGER attachment_is_kept ON attachment;
CREATE TRIGGER attachment_is_kept BEFORE UPDATE OR TRUNCATE ON attachment EXECUTE FUNCTION refuse_a_change();
DROP TRIGGER chunk_is_kept ON chunk;
CREATE TRIGGER chunk_is_kept BEFORE TRUNCATE ON chunk EXECUTE FUNCTION refuse_a_change();

CREATE TRIGGER recipient_goes_only_with_its_account BEFORE DELETE ON recipient FOR EACH ROW
    WHEN (current_setting('postroom.deleted_account', true) IS DISTINCT FROM OLD.account_id::text) EXECUTE FUNCTION refuse_a_change();
CREATE TRIGGER exclusion_goes_only_with_its_account BEFORE DELETE ON exclusion FOR EACH ROW
    WHEN (current_setting('postroom.deleted_account', true) IS DISTINCT FROM OLD.account_id::text) EXECUTE FUNCTION refuse_a_change();
CREATE TRIGGER outcome_goes_only_with_its_account BEFORE DELETE ON outcome FOR EACH ROW
    WHEN (current_setting('postroom.deleted_account', true) IS DISTINCT FROM OLD.account_id::text) EXECUTE FUNCTION refuse_a_change();
CREATE TRIGGER hand_off_window_goes_only_with_its_account BEFORE DELETE ON hand_off_window FOR EACH ROW
    WHEN (current_setting('postroom.deleted_account', true) IS DISTINCT FROM OLD.account_id::text) EXECUTE FUNCTION refuse_a_change();
CREATE TRIGGER job_event_goes_only_with_its_account BEFORE DELETE ON job_event FOR EACH ROW
    WHEN (current_setting('postroom.deleted_account', true) IS DISTINCT FROM OLD.account_id::text) EXECUTE FUNCTION refuse_a_change();
CREATE TRIGGER approval_goes_only_with_its_account BEFORE DELETE ON approval FOR EACH ROW
    WHEN (current_setting('postroom.deleted_account', true) IS DISTINCT FROM OLD.account_id::text) EXECUTE FUNCTION refuse_a_change();
CREATE TRIGGER job_goes_only_with_its_account BEFORE DELETE ON job FOR EACH ROW
    WHEN (current_setting('postroom.deleted_account', true) IS DISTINCT FROM OLD.account_id::text) EXECUTE FUNCTION refuse_a_change();
CREATE TRIGGER attachment_goes_only_with_its_account BEFORE DELETE ON attachment FOR EACH ROW
    WHEN (current_setting('postroom.deleted_account', true) IS DISTINCT FROM OLD.account_id::text) EXECUTE FUNCTION refuse_a_change();
CREATE TRIGGER chunk_goes_only_with_its_account BEFORE DELETE ON chunk FOR EACH ROW
    WHEN (current_setting('postroom.deleted_account', true) IS DISTINCT FROM OLD.account_id::text) EXECUTE FUNCTION refuse_a_change();

CREATE TRIGGER suppression_event_is_appended BEFORE UPDATE OR TRUNCATE ON suppression_event EXECUTE FUNCTION refuse_a_change();
CREATE TRIGGER suppression_event_goes_only_with_its_account BEFORE DELETE ON suppression_event FOR EACH ROW
    WHEN (current_setting('postroom.deleted_account', true) IS DISTINCT FROM OLD.account_id::text) EXECUTE FUNCTION refuse_a_change();
CREATE TRIGGER account_deletion_is_appended BEFORE UPDATE OR DELETE OR TRUNCATE ON account_deletion
    EXECUTE FUNCTION refuse_a_change();
