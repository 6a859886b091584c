"""The names of a template that are never a column of the list."""

from __future__ import annotations

# Those whose value is each recipient's own.
EMAIL, UNSUBSCRIBE_URL = "email", "unsubscribe_url"
OWN = frozenset({EMAIL, UNSUBSCRIBE_URL})

RESERVED = frozenset({"account", "fields", "now", "today"}) | OWN
