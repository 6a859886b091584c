-- Who is signed in to the pages, kept where every web process and every restart finds it, and where it can be ended.

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
