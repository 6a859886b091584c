-- A gateway of a private network may show a certificate of a CA of its own, which every machine that speaks to it has to know.
ALTER TABLE gateway ADD COLUMN ca_certificates text;
-- Some gateways take access tokens alone: where and with what those are asked for, sealed as a whole.
ALTER TABLE gateway ADD COLUMN oauth bytea;
ALTER TABLE gateway ADD CONSTRAINT gateway_oauth_has_a_username_and_no_password
    CHECK (oauth IS NULL OR (username IS NOT NULL AND password IS NULL));
