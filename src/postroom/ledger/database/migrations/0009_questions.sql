-- A refusal for good may be about its recipient or about us. Until that is known the recipient stays unsent, and what tells it is
-- written down: whether others were refused alike, and since when the gateway has taken mail.
ALTER TABLE retry ADD COLUMN alike integer;
ALTER TABLE retry ADD COLUMN refused_at timestamptz;
ALTER TABLE retry ADD COLUMN is_about_us boolean NOT NULL DEFAULT false;
ALTER TABLE retry ADD COLUMN own integer;
ALTER TABLE retry ADD CONSTRAINT a_question_has_a_time CHECK ((alike IS NULL) = (refused_at IS NULL));
CREATE INDEX retry_in_question ON retry (account_id, job_id) WHERE alike IS NOT NULL;
ALTER TABLE chunk ADD COLUMN accepted_after timestamptz;
ALTER TABLE chunk ADD COLUMN accepted_before timestamptz;
