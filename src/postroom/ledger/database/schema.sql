-- The ledger. What the code must not do, the database refuses, by constraints and triggers that can be read aloud.
-- Procrastinate's own tables (the engine) are made before this, by the first migration.
-- Every key of a big table starts with account_id: the tables can be spread over machines by it.

-- Accounts and what belongs to them -----------------------------------------------------------------------------------

CREATE TABLE account (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name                text NOT NULL CONSTRAINT account_name_is_taken UNIQUE,
    approval_threshold  integer NOT NULL DEFAULT 100,
    fields              json NOT NULL DEFAULT '{}',
    created_at          timestamptz NOT NULL DEFAULT now(),
    bounce_domain            text,     -- where its bounces come back to: VERP envelope senders are made in it
    unsubscribe_url          text,     -- its own unsubscribe address; without one Postroom's own page serves
    postal_address           text,
    requires_unsubscribe     boolean NOT NULL DEFAULT false,
    requires_postal_address  boolean NOT NULL DEFAULT false,
    -- Signs the tokens in unsubscribe links and VERP senders. In here and not derived from the installation's secret, because
    -- a link in an old mail has to work whatever becomes of that.
    token_key                bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()),
    -- How long a recipient that the gateway refuses for now is tried again, and how long the last of a job may hold its queue.
    retry_attempts_max       integer NOT NULL DEFAULT 10
                                 CONSTRAINT retry_attempts_are_few CHECK (retry_attempts_max BETWEEN 1 AND 100),
    retry_deadline_s         integer NOT NULL DEFAULT 14400 CONSTRAINT retry_deadline_is_positive CHECK (retry_deadline_s > 0),
    retry_tail_s             integer NOT NULL DEFAULT 1800 CONSTRAINT retry_tail_is_positive CHECK (retry_tail_s > 0),
    CONSTRAINT account_name_is_given CHECK (name <> '' AND length(name) <= 200),
    CONSTRAINT approval_threshold_is_positive CHECK (approval_threshold >= 1)
);

CREATE TABLE gateway (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id   bigint NOT NULL REFERENCES account,
    name         text NOT NULL,
    host         text NOT NULL,
    port         integer NOT NULL CONSTRAINT gateway_port_is_a_port CHECK (port BETWEEN 1 AND 65535),
    security     text NOT NULL CONSTRAINT gateway_security_is_known CHECK (security IN ('implicit', 'starttls', 'none')),
    username     text,
    password     bytea,  -- AES-256-GCM, the key is outside the database
    connections  integer NOT NULL DEFAULT 10 CONSTRAINT gateway_connections_are_few CHECK (connections BETWEEN 1 AND 100),
    created_at   timestamptz NOT NULL DEFAULT now(),
    signs_dkim   boolean NOT NULL DEFAULT false,  -- it signs for the From domain by itself, as hosted services do
    -- Its limits, where its operator named them; they hold for all workers and machines together. A warm-up's first day is capped
    -- at `warm_up_from`, and each day that follows at twice as many.
    messages_per_s           real CONSTRAINT gateway_rate_is_positive CHECK (messages_per_s > 0),
    messages_per_connection  integer CONSTRAINT gateway_messages_per_connection_is_positive CHECK (messages_per_connection > 0),
    daily_quota              integer CONSTRAINT gateway_quota_is_positive CHECK (daily_quota > 0),
    warm_up_from             integer CONSTRAINT gateway_warm_up_is_positive CHECK (warm_up_from > 0),
    ca_certificates  text,  -- PEM; they vouch for it instead of those of the machine that speaks to it
    oauth            bytea, -- where and with what access tokens are asked for; JSON, sealed as the password is
    CONSTRAINT gateway_name_is_taken UNIQUE (account_id, name),
    CONSTRAINT gateway_of_account UNIQUE (account_id, id),
    CONSTRAINT gateway_password_has_a_username CHECK (password IS NULL OR username IS NOT NULL),
    CONSTRAINT gateway_oauth_has_a_username_and_no_password
        CHECK (oauth IS NULL OR (username IS NOT NULL AND password IS NULL))
);

-- How fast a gateway may be used right now, by all workers and machines together.
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

-- Connections that workers have open. A slot belongs to its owner until the time is up.
CREATE TABLE gateway_session (
    gateway_id  bigint NOT NULL REFERENCES gateway,
    slot        integer NOT NULL,
    owner       text NOT NULL,
    until       timestamptz NOT NULL,
    PRIMARY KEY (gateway_id, slot)
);

CREATE TABLE api_key (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id   bigint NOT NULL REFERENCES account,
    name         text NOT NULL,
    secret_hash  bytea NOT NULL CONSTRAINT api_key_secret_is_unique UNIQUE,
    created_at   timestamptz NOT NULL DEFAULT now(),
    revoked_at   timestamptz,
    CONSTRAINT api_key_name_is_taken UNIQUE (account_id, name)
);

-- Links that sign the operator in, once. Only the hashes of their tokens are here.
CREATE TABLE sign_in_link (
    token_hash  bytea PRIMARY KEY,
    until       timestamptz NOT NULL
);

-- Sessions of the operator. Only the hashes of their cookies are here.
CREATE TABLE operator_session (
    cookie_hash  bytea PRIMARY KEY,
    until        timestamptz NOT NULL
);

CREATE TABLE suppression (
    account_id   bigint NOT NULL REFERENCES account,
    address_key  text NOT NULL,
    reason       text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    by           text NOT NULL DEFAULT 'not recorded',
    PRIMARY KEY (account_id, address_key)
);

-- Every address that came to be suppressed or was lifted, by whom and why; an opt-out that a person lifts leaves its record here.
CREATE TABLE suppression_event (
    account_id   bigint NOT NULL REFERENCES account,
    id           bigint GENERATED ALWAYS AS IDENTITY,
    address_key  text NOT NULL,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    verb         text NOT NULL CONSTRAINT suppression_verb_is_known CHECK (verb IN ('suppress', 'lift')),
    by           text NOT NULL,
    reason       text NOT NULL,
    by_person    bigint,
    by_key       bigint,
    PRIMARY KEY (account_id, id)
);

CREATE INDEX suppression_event_of_an_address ON suppression_event (account_id, address_key, id);

CREATE TABLE contact (
    account_id   bigint NOT NULL REFERENCES account,
    id           bigint GENERATED ALWAYS AS IDENTITY,
    address      text NOT NULL,
    address_key  text NOT NULL,
    fields       json NOT NULL DEFAULT '{}',
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, id),
    CONSTRAINT contact_address_is_taken UNIQUE (account_id, address_key)
);

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

-- The job -------------------------------------------------------------------------------------------------------------

CREATE TABLE job (
    id                   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id           bigint NOT NULL REFERENCES account,
    gateway_id           bigint NOT NULL,
    status               text NOT NULL,
    subject              text NOT NULL,
    content              json NOT NULL,
    account_fields       json NOT NULL DEFAULT '{}',  -- the account's own merge fields, as they were approved
    duplicates           text NOT NULL CONSTRAINT duplicates_option_is_known
                             CHECK (duplicates IN ('exclude', 'skip', 'send')),
    unusable_addresses   text NOT NULL CONSTRAINT unusable_addresses_option_is_known
                             CHECK (unusable_addresses IN ('exclude', 'fail')),
    recipient_count      integer NOT NULL CONSTRAINT recipient_list_is_not_empty CHECK (recipient_count >= 1),
    excluded_duplicates  integer NOT NULL DEFAULT 0,
    excluded_unusable    integer NOT NULL DEFAULT 0,
    excluded_suppressed  integer NOT NULL DEFAULT 0,
    lanes                integer NOT NULL CONSTRAINT lanes_are_few CHECK (lanes BETWEEN 1 AND 100),
    approval_threshold   integer NOT NULL,
    digest               bytea NOT NULL CONSTRAINT digest_is_sha256 CHECK (length(digest) = 32),
    approved_digest      bytea,
    message_key          text NOT NULL,  -- random; makes Message-IDs unguessable and the same on every attempt
    queue_no             bigint,
    not_before           timestamptz,
    created_by           text NOT NULL,
    created_at           timestamptz NOT NULL DEFAULT now(),
    created_in           xid8 NOT NULL DEFAULT pg_current_xact_id(),
    started_at           timestamptz,
    ended_at             timestamptz,
    moved_by             text NOT NULL,  -- who made the latest move; the trigger writes it into the event
    reason               text,           -- why it failed, or the note of a cancel
    bodies               json NOT NULL,           -- the templates that were made of the content: what is rendered
    identity             json NOT NULL DEFAULT '{}',  -- how its messages name their sender and the way out, as it was approved
    dkim_keys            bigint[] NOT NULL DEFAULT '{}',
    field_policy         text NOT NULL DEFAULT 'blank' CONSTRAINT field_policy_is_known
                             CHECK (field_policy IN ('refuse', 'fail', 'blank')),
    continues            bigint,           -- the job whose rest this one sends
    continued_class      text
                             CONSTRAINT continued_class_is_known CHECK (continued_class IN ('unsent', 'failed', 'unconfirmed')),
    corrects             bigint,           -- the job that was changed before it was sent, whose place this one takes
    read_as              json NOT NULL DEFAULT '{}',  -- how its list was read, for whoever changes it
    created_by_person    bigint,           -- who answers for it: that person, or the one behind the key
    created_by_key       bigint,
    moved_by_person      bigint,
    moved_by_key         bigint,
    CONSTRAINT job_of_account UNIQUE (account_id, id),
    CONSTRAINT gateway_belongs_to_the_account FOREIGN KEY (account_id, gateway_id) REFERENCES gateway (account_id, id),
    CONSTRAINT it_continues_a_job_of_the_account FOREIGN KEY (account_id, continues) REFERENCES job (account_id, id),
    CONSTRAINT it_corrects_a_job_of_the_account FOREIGN KEY (account_id, corrects) REFERENCES job (account_id, id),
    CONSTRAINT a_continuation_says_of_whom CHECK ((continues IS NULL) = (continued_class IS NULL)),
    CONSTRAINT status_is_known
        CHECK (status IN ('pending_approval', 'queued', 'sending', 'completed', 'cancelled', 'failed')),
    CONSTRAINT a_large_job_is_approved_as_it_is
        CHECK (recipient_count < approval_threshold
               OR status IN ('pending_approval', 'cancelled')
               OR (approved_digest IS NOT NULL AND approved_digest = digest)),
    CONSTRAINT a_small_job_never_waits_for_approval
        CHECK (status <> 'pending_approval' OR recipient_count >= approval_threshold),
    CONSTRAINT a_queued_job_has_a_queue_number
        CHECK (status IN ('pending_approval', 'cancelled') OR queue_no IS NOT NULL),
    CONSTRAINT a_started_job_has_a_start
        CHECK (CASE status WHEN 'sending' THEN started_at IS NOT NULL
                           WHEN 'completed' THEN started_at IS NOT NULL
                           WHEN 'pending_approval' THEN started_at IS NULL
                           WHEN 'queued' THEN started_at IS NULL ELSE true END),
    CONSTRAINT a_job_that_is_over_has_an_end
        CHECK ((status IN ('completed', 'cancelled', 'failed')) = (ended_at IS NOT NULL)),
    CONSTRAINT a_failed_job_has_a_reason CHECK (status <> 'failed' OR reason IS NOT NULL)
);

CREATE UNIQUE INDEX one_sending_job_per_account ON job (account_id) WHERE status = 'sending';
CREATE UNIQUE INDEX one_place_in_the_queue_per_job ON job (account_id, queue_no) WHERE status = 'queued';
CREATE UNIQUE INDEX a_job_is_corrected_once ON job (account_id, corrects) WHERE corrects IS NOT NULL;
CREATE INDEX continuations ON job (account_id, continues) WHERE continues IS NOT NULL;
CREATE INDEX job_history ON job (account_id, id DESC);
CREATE INDEX job_history_by_status ON job (account_id, status, id DESC);
CREATE INDEX job_history_by_date ON job (account_id, created_at);
CREATE INDEX job_by_its_end ON job (ended_at);

-- Drawn only while the account's row is locked, so its order is the order of approval.
CREATE SEQUENCE queue_number;

CREATE TABLE job_transition (
    verb         text NOT NULL,
    from_status  text NOT NULL,  -- 'new': the job comes into being with it
    to_status    text NOT NULL,
    PRIMARY KEY (from_status, to_status)
);

INSERT INTO job_transition (verb, from_status, to_status) VALUES
    ('submit',   'new',              'pending_approval'),
    ('submit',   'new',              'queued'),
    ('approve',  'pending_approval', 'queued'),
    ('start',    'queued',           'sending'),
    ('complete', 'sending',          'completed'),
    ('cancel',   'pending_approval', 'cancelled'),
    ('cancel',   'queued',           'cancelled'),
    ('cancel',   'sending',          'cancelled'),
    ('fail',     'queued',           'failed'),
    ('fail',     'sending',          'failed');

CREATE TABLE job_event (
    account_id   bigint NOT NULL,
    job_id       bigint NOT NULL,
    id           bigint GENERATED ALWAYS AS IDENTITY,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    verb         text NOT NULL,
    from_status  text,
    to_status    text NOT NULL,
    by           text NOT NULL,
    reason       text,
    by_person    bigint,
    by_key       bigint,
    PRIMARY KEY (account_id, job_id, id),
    FOREIGN KEY (account_id, job_id) REFERENCES job (account_id, id)
);

CREATE TABLE approval (
    account_id   bigint NOT NULL,
    job_id       bigint NOT NULL,
    approved_by  text NOT NULL,
    approved_at  timestamptz NOT NULL DEFAULT now(),
    digest       bytea NOT NULL,
    by_person    bigint,
    by_key       bigint,
    PRIMARY KEY (account_id, job_id),
    FOREIGN KEY (account_id, job_id) REFERENCES job (account_id, id)
);

-- Why a job does not move although its status would let it: shown beside the status, never a status of its own.
CREATE TABLE job_condition (
    account_id  bigint NOT NULL,
    job_id      bigint NOT NULL,
    kind        text NOT NULL CONSTRAINT condition_is_known
                    CHECK (kind IN ('paused', 'journal', 'gateway', 'quota', 'retries', 'alarm')),
    reason      text NOT NULL,
    since       timestamptz NOT NULL DEFAULT now(),
    until       timestamptz NOT NULL,
    times       integer NOT NULL DEFAULT 1,
    by          text NOT NULL DEFAULT 'postroom',
    PRIMARY KEY (account_id, job_id, kind),
    FOREIGN KEY (account_id, job_id) REFERENCES job (account_id, id)
);

CREATE TABLE idempotency_key (
    account_id   bigint NOT NULL REFERENCES account,
    key          text NOT NULL CONSTRAINT idempotency_key_is_short CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint  bytea NOT NULL,
    job_id       bigint NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, key),
    FOREIGN KEY (account_id, job_id) REFERENCES job (account_id, id)
);

-- The frozen list -----------------------------------------------------------------------------------------------------

CREATE TABLE recipient (
    account_id   bigint NOT NULL,
    job_id       bigint NOT NULL,
    position     integer NOT NULL,
    row_no       integer NOT NULL,      -- the row of the list it came from, the header being row 1
    address      text NOT NULL,         -- as given where it is unusable
    address_key  text NOT NULL,         -- '' where it is unusable
    dedupe_key   text NOT NULL,         -- '' but where the job sends or books duplicates
    booked       text CONSTRAINT booked_at_the_freeze_is_known CHECK (booked IN ('duplicate', 'unusable')),
    fields       json NOT NULL,
    PRIMARY KEY (account_id, job_id, position),
    CONSTRAINT one_recipient_per_address_and_job UNIQUE (account_id, job_id, address_key, dedupe_key)
);

CREATE TABLE exclusion (
    account_id  bigint NOT NULL,
    job_id      bigint NOT NULL,
    row_no      integer NOT NULL,
    kind        text NOT NULL CONSTRAINT exclusion_is_known CHECK (kind IN ('duplicate', 'unusable', 'suppressed')),
    value       text NOT NULL,
    reason      text NOT NULL,
    PRIMARY KEY (account_id, job_id, row_no),
    FOREIGN KEY (account_id, job_id) REFERENCES job (account_id, id)
);

CREATE TABLE chunk (
    account_id      bigint NOT NULL,
    job_id          bigint NOT NULL,
    chunk_no        integer NOT NULL,
    first_position  integer NOT NULL,
    n               integer NOT NULL CONSTRAINT chunk_is_of_1_to_1000 CHECK (n BETWEEN 1 AND 1000),
    digest          bytea NOT NULL,
    next_position   integer NOT NULL,          -- the first position that no window has held yet; only moves forward
    sent            integer NOT NULL DEFAULT 0,
    failed          integer NOT NULL DEFAULT 0,
    skipped         integer NOT NULL DEFAULT 0,
    unconfirmed     integer NOT NULL DEFAULT 0,
    unsent          integer NOT NULL GENERATED ALWAYS AS (n - sent - failed - skipped - unconfirmed) STORED,
    lease_epoch     integer NOT NULL DEFAULT 0,
    lease_until     timestamptz,
    owner           text,
    window_no       integer NOT NULL DEFAULT 0,    -- the latest one
    window_open     boolean NOT NULL DEFAULT false,
    available_at    timestamptz,               -- when the earliest retry is due, where only retries are left
    audited_at      timestamptz,               -- when its counters were last compared with its outcomes; infinity:
                                               -- when it was finished
    accepted_after  timestamptz,               -- when the latest window was opened of which somebody was accepted, and when
    accepted_before timestamptz,               -- it was booked
    PRIMARY KEY (account_id, job_id, chunk_no),
    FOREIGN KEY (account_id, job_id) REFERENCES job (account_id, id),
    CONSTRAINT accounting_identity
        CHECK (sent >= 0 AND failed >= 0 AND skipped >= 0 AND unconfirmed >= 0 AND unsent >= 0),
    CONSTRAINT windows_stay_in_the_chunk CHECK (next_position BETWEEN first_position AND first_position + n)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

-- Who still has recipients in hand; most chunks never stand in it, so turning a window touches no index.
CREATE INDEX chunk_with_an_open_window ON chunk (account_id, job_id, chunk_no) WHERE window_open;

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

-- The intent: committed before a session may speak about these recipients. Never changed.
CREATE TABLE hand_off_window (
    account_id   bigint NOT NULL,
    job_id       bigint NOT NULL,
    chunk_no     integer NOT NULL,
    window_no    integer NOT NULL,
    lease_epoch  integer NOT NULL,
    owner        text NOT NULL,
    opened_at    timestamptz NOT NULL DEFAULT now(),
    positions    integer[] NOT NULL,
    attempts     smallint[] NOT NULL,
    PRIMARY KEY (account_id, job_id, chunk_no, window_no)
);

-- In life and in strength order: a recipient's state is that of its last attempt's strongest evidence.
CREATE TYPE outcome_kind AS ENUM ('refused', 'released', 'unconfirmed', 'skipped', 'failed', 'sent');
CREATE TYPE outcome_evidence AS ENUM
    ('lease_lost', 'crash_after_dot', 'connection_lost', 'freeze', 'suppression', 'person', 'worker', 'reply');

CREATE TABLE outcome (
    account_id     bigint NOT NULL,
    job_id         bigint NOT NULL,
    position       integer NOT NULL,
    attempt_no     smallint NOT NULL,
    kind           outcome_kind NOT NULL,
    evidence       outcome_evidence NOT NULL,
    code           smallint,
    enhanced_code  text,
    reply          text,
    at             timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT one_outcome_per_attempt_and_evidence PRIMARY KEY (account_id, job_id, position, attempt_no, evidence),
    -- A person who settles a doubt may say "assume sent".
    CONSTRAINT sent_is_only_what_the_gateway_accepted
        CHECK (kind <> 'sent' OR evidence = 'person' OR (evidence = 'reply' AND code IS NOT NULL AND code BETWEEN 200 AND 299))
);

CREATE INDEX outcome_other_than_sent ON outcome (account_id, job_id, kind, position) WHERE kind <> 'sent';

-- A recipient that is unsent after a window held it: refused for now, or given back. Its row goes when a window takes it.
CREATE TABLE retry (
    account_id  bigint NOT NULL,
    job_id      bigint NOT NULL,
    chunk_no    integer NOT NULL,
    position    integer NOT NULL,
    attempt_no  smallint NOT NULL,     -- the number of the attempt to come
    refusals    smallint NOT NULL,     -- temporary refusals so far that count against it; throttling does not
    not_before  timestamptz NOT NULL,
    since       timestamptz NOT NULL DEFAULT clock_timestamp(),  -- of its first refusal
    alike       integer,               -- it was refused for good, and whom that is about is open: the number of all refusals alike
    refused_at  timestamptz,
    is_about_us boolean NOT NULL DEFAULT false,  -- no question any more: it is tried again, whoever is accepted
    own         integer,               -- the number of a refusal that it met alone: whoever came right behind was accepted
    PRIMARY KEY (account_id, job_id, chunk_no, position),
    CONSTRAINT a_question_has_a_time CHECK ((alike IS NULL) = (refused_at IS NULL))
);

CREATE INDEX retry_in_question ON retry (account_id, job_id) WHERE alike IS NOT NULL;

-- One row: which installation this is, and a number that only grows. Workers keep the largest they have seen beside their
-- journals; a database that names a smaller one was restored from a backup, and does not know what was sent since.
CREATE TABLE installation (
    is_the_only_one  boolean PRIMARY KEY DEFAULT true CONSTRAINT there_is_one_installation CHECK (is_the_only_one),
    id               uuid NOT NULL DEFAULT gen_random_uuid(),
    beat             bigint NOT NULL DEFAULT 0,
    seen_at          timestamptz NOT NULL DEFAULT clock_timestamp(),  -- when a worker last looked at the clock, to within seconds
    timeline         text  -- on which all workers have found what they knew of; until then no chunk is given out
);

INSERT INTO installation DEFAULT VALUES;

-- Which server this is, on which of its timelines (a promoted standby begins a new one), and since when it runs.
CREATE FUNCTION server_timeline() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    running text := extract(epoch FROM pg_postmaster_start_time());
BEGIN
    RETURN (SELECT system_identifier FROM pg_control_system())
           || '/' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) || '/' || running;
EXCEPTION WHEN OTHERS THEN
    RETURN '//' || running;  -- a service that does not tell
END $$;

-- Every worker that has not ended properly, and on which timeline it last found all that it knew of.
CREATE TABLE worker (
    owner           text PRIMARY KEY,
    timeline        text NOT NULL,
    is_synchronous  boolean NOT NULL,  -- whether its commits waited for a standby then
    seen_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease           interval NOT NULL DEFAULT '0'  -- how long its leases last
);

-- Times in which no worker looked, or that the clock skipped. They count against nobody's patience.
CREATE TABLE clock_gap (
    since  timestamptz PRIMARY KEY,
    until  timestamptz NOT NULL,
    CONSTRAINT a_gap_has_a_length CHECK (until > since)
);

-- Now, or a little after the last look where that is longer ago: before a gap is noticed it must not end anybody's patience.
CREATE FUNCTION trusted_now() RETURNS timestamptz LANGUAGE sql AS $$
    SELECT least(clock_timestamp(), seen_at + interval '15 s') FROM installation
$$;

-- From when patience counts for somebody who needed it first at that moment: all gaps since then are passed over.
CREATE FUNCTION patient_since(moment timestamptz) RETURNS timestamptz LANGUAGE sql AS $$
    SELECT least(clock_timestamp(), moment + coalesce(sum(until - greatest(since, moment)), interval '0'))
    FROM clock_gap WHERE until > moment
$$;

-- Accounts that were deleted, with the numbers of their jobs: what a worker remembers of those was not lost by the database.
CREATE TABLE account_deletion (
    account_id  bigint PRIMARY KEY,
    name        text NOT NULL,
    by          text NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    recipients  bigint NOT NULL,
    jobs        bigint[] NOT NULL,
    by_person   bigint,
    by_key      bigint
);

-- Everything that people are shown of a job, its counts summed over the chunks at this instant.
CREATE VIEW job_overview AS
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

-- Triggers ------------------------------------------------------------------------------------------------------------

CREATE FUNCTION refuse_a_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is written once and never changed', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER recipient_is_frozen BEFORE UPDATE OR TRUNCATE ON recipient EXECUTE FUNCTION refuse_a_change();
CREATE TRIGGER exclusion_is_frozen BEFORE UPDATE OR TRUNCATE ON exclusion EXECUTE FUNCTION refuse_a_change();
CREATE TRIGGER outcome_is_appended BEFORE UPDATE OR TRUNCATE ON outcome EXECUTE FUNCTION refuse_a_change();
CREATE TRIGGER window_is_appended BEFORE UPDATE OR TRUNCATE ON hand_off_window EXECUTE FUNCTION refuse_a_change();
CREATE TRIGGER job_event_is_appended BEFORE UPDATE OR TRUNCATE ON job_event EXECUTE FUNCTION refuse_a_change();
CREATE TRIGGER approval_is_appended BEFORE UPDATE OR TRUNCATE ON approval EXECUTE FUNCTION refuse_a_change();
CREATE TRIGGER job_is_kept BEFORE TRUNCATE ON job EXECUTE FUNCTION refuse_a_change();
CREATE TRIGGER attachment_is_kept BEFORE UPDATE OR TRUNCATE ON attachment EXECUTE FUNCTION refuse_a_change();
CREATE TRIGGER chunk_is_kept BEFORE TRUNCATE ON chunk EXECUTE FUNCTION refuse_a_change();
CREATE TRIGGER suppression_event_is_appended BEFORE UPDATE OR TRUNCATE ON suppression_event EXECUTE FUNCTION refuse_a_change();
CREATE TRIGGER account_deletion_is_appended BEFORE UPDATE OR DELETE OR TRUNCATE ON account_deletion
    EXECUTE FUNCTION refuse_a_change();
CREATE TRIGGER chunk_bounds_are_frozen BEFORE UPDATE OF account_id, job_id, chunk_no, first_position, n, digest ON chunk
    EXECUTE FUNCTION refuse_a_change();

-- None of them is deleted alone: all of an account's go with it, in a transaction that names the account.
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
CREATE TRIGGER suppression_event_goes_only_with_its_account BEFORE DELETE ON suppression_event FOR EACH ROW
    WHEN (current_setting('postroom.deleted_account', true) IS DISTINCT FROM OLD.account_id::text) EXECUTE FUNCTION refuse_a_change();

-- Only the transaction that creates a job may write its list. Comparing transaction numbers, not a "frozen" flag, leaves
-- no moment in which a racing insert could slip in.
CREATE FUNCTION refuse_a_late_recipient() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM (SELECT DISTINCT account_id, job_id FROM written) AS w
               LEFT JOIN job ON job.account_id = w.account_id AND job.id = w.job_id
               WHERE job.created_in IS DISTINCT FROM pg_current_xact_id()) THEN
        RAISE EXCEPTION 'the list of a job is frozen when the job is created' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER recipient_list_is_closed AFTER INSERT ON recipient REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_a_late_recipient();
CREATE TRIGGER chunk_list_is_closed AFTER INSERT ON chunk REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_a_late_recipient();
CREATE TRIGGER exclusion_list_is_closed AFTER INSERT ON exclusion REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_a_late_recipient();

-- There is no half-built job: when its transaction commits, list, chunks and count agree.
CREATE FUNCTION refuse_a_half_built_job() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    dealt bigint;
    listed bigint;
BEGIN
    SELECT sum(n) INTO dealt FROM chunk WHERE account_id = NEW.account_id AND job_id = NEW.id;
    SELECT count(*) INTO listed FROM recipient WHERE account_id = NEW.account_id AND job_id = NEW.id;
    IF dealt IS DISTINCT FROM NEW.recipient_count OR listed <> NEW.recipient_count THEN
        RAISE EXCEPTION 'job %: recipient_count is %, but % are listed and % dealt into chunks',
            NEW.id, NEW.recipient_count, listed, dealt USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER there_is_no_half_built_job AFTER INSERT ON job DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION refuse_a_half_built_job();

CREATE FUNCTION guard_job() RETURNS trigger LANGUAGE plpgsql AS $$
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

CREATE TRIGGER job_is_guarded BEFORE INSERT OR UPDATE ON job FOR EACH ROW EXECUTE FUNCTION guard_job();

-- Every move leaves an event, and tells whoever listens. One notification per change of status, never per window:
-- NOTIFY takes a lock on the whole database at commit.
CREATE FUNCTION record_move() RETURNS trigger LANGUAGE plpgsql AS $$
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

CREATE TRIGGER job_move_is_recorded AFTER INSERT OR UPDATE OF status ON job FOR EACH ROW EXECUTE FUNCTION record_move();

-- Late evidence may give a recipient back only while somebody can still send it, or once nobody will: not in a
-- completed job, whose nothing-unsent is a promise.
CREATE FUNCTION refuse_unsent_in_a_completed_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM job WHERE account_id = NEW.account_id AND id = NEW.job_id AND status = 'completed') THEN
        RAISE EXCEPTION 'job % is completed: nothing in it can be unsent again', NEW.job_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'a_completed_job_has_nothing_unsent';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER a_completed_job_stays_complete AFTER UPDATE ON chunk
    FOR EACH ROW WHEN (NEW.unsent > OLD.unsent) EXECUTE FUNCTION refuse_unsent_in_a_completed_job();

CREATE FUNCTION refuse_a_step_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'chunk %/%: epoch, position and window only move forward', NEW.job_id, NEW.chunk_no
        USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER chunk_only_moves_forward BEFORE UPDATE ON chunk
    FOR EACH ROW WHEN (NEW.lease_epoch < OLD.lease_epoch OR NEW.next_position < OLD.next_position OR NEW.window_no < OLD.window_no)
    EXECUTE FUNCTION refuse_a_step_back();
