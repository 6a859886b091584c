"""The names of a template that are never a column of the list."""

from __future__ import annotations

# Those whose value is each recipient's own.
EMAIL, UNSUBSCRIBE_URL = "email", "unsubscribe_url"
OWN = frozenset({EMAIL, UNSUBSCRIBE_URL})

# What those mean that may stand by themselves, where somebody may have meant a column.
MEANT = {EMAIL: "the recipient's address", UNSUBSCRIBE_URL: "the recipient's own way out", "now": "the moment of sending",
         "today": "the moment of sending"}
# Those of which a part has to be named, with an example.
WHOLE = {"account": "account.name", "fields": 'fields["First name"]'}

RESERVED = frozenset(MEANT | WHOLE)
