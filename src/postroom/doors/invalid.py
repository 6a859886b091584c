"""What is wrong with a value that somebody gave, in plain sentences: pydantic finds it, in the API's requests and on the command
line, and its own words speak of its insides.

What is not told here is told in pydantic's words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TIME_EXAMPLE = "2030-01-31T09:00:00Z"
SENTENCES = {
    "string_type": "Text is needed here.", "list_type": "A list is needed here.", "missing": "This is missing.",
    "extra_forbidden": "There is nothing of this name here.", "timezone_aware": f"The time needs its zone, as in {TIME_EXAMPLE}.",
    "greater_than_equal": "The smallest that it can be is {ge:,}.", "less_than_equal": "The largest that it can be is {le:,}.",
    "literal_error": "It is one of {expected}.", "enum": "It is one of {expected}.",
    "too_short": "It is too short: at least {min_length:,}.", "too_long": "It is too long: at most {max_length:,}.",
    "string_too_long": "It is too long: at most {max_length:,} characters.",
    "string_unicode": "The text is not valid text: it holds half a character or a stray byte.",
    "finite_number": "A number is needed here.",
    "string_pattern_mismatch": "It does not have the form that is needed here."}
FAMILIES = {  # by how the names of pydantic's errors begin
    "model_": "An object is needed here.", "dict_": "An object is needed here.", "bool_": "It is either true or false.",
    "int_": "A whole number is needed here.", "float_": "A number is needed here.",
    "datetime_": f"A time is needed here, such as {TIME_EXAMPLE}."}


def sentence(error: Mapping[str, Any]) -> str:
    """Of one of pydantic's errors, without the place."""
    kind = error["type"]
    if kind in SENTENCES:
        return SENTENCES[kind].format_map(error.get("ctx", {}))
    for beginning, told in FAMILIES.items():
        if kind.startswith(beginning):
            return told
    message: str = error["msg"].removeprefix("Value error, ")
    return message if message.endswith(".") else f"{message}."
