-- A person settles what nobody can know. Once somebody does know, the worker that had the message in hand or its journal, that
-- stands above the guess: 'worker' moves behind 'person'. The order of an enum cannot be changed, so it is made anew.
ALTER TABLE outcome DROP CONSTRAINT sent_is_only_what_the_gateway_accepted;
ALTER TYPE outcome_evidence RENAME TO outcome_evidence_before;
CREATE TYPE outcome_evidence AS ENUM
    ('lease_lost', 'crash_after_dot', 'connection_lost', 'freeze', 'suppression', 'person', 'worker', 'reply');
ALTER TABLE outcome ALTER COLUMN evidence TYPE outcome_evidence USING evidence::text::outcome_evidence;
DROP TYPE outcome_evidence_before;
ALTER TABLE outcome ADD CONSTRAINT sent_is_only_what_the_gateway_accepted
        CHECK (kind <> 'sent' OR evidence = 'person' OR (evidence = 'reply' AND code IS NOT NULL AND code BETWEEN 200 AND 299));
