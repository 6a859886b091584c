"""Writes docs/states.md from domain/job.py and domain/outcome.py, so that the drawing cannot differ from the code.

    python tools/render_states.py          writes it; a test compares
"""

from __future__ import annotations

from pathlib import Path

from postroom.domain import job, outcome
from postroom.domain.job import TRANSITIONS, Status
from postroom.domain.outcome import EVIDENCE_MEANINGS, Evidence

PATH = Path(__file__).resolve().parent.parent / "docs" / "states.md"


def render() -> str:
    """The whole document."""
    return "\n".join([
        "# States",
        "",
        "The life of a job and of a recipient: each state, what is true in it, and who leaves it.",
        "Made by `python tools/render_states.py`; the database refuses every other move.",
        "",
        "## A job",
        "",
        "```mermaid",
        "stateDiagram-v2",
        *(f"    {move.origin or '[*]'} --> {move.target}: {move.verb}" for move in TRANSITIONS),
        *(f"    {status} --> [*]" for status in Status if status.is_over),
        "```",
        "",
        "| Verb | From | To |",
        "|---|---|---|",
        *(f"| {move.verb} | {move.origin.label if move.origin else '(new)'} | {move.target.label} |" for move in TRANSITIONS),
        "",
        *(line for status in Status for line in (f"**{status.label}** (`{status}`). {status.meaning}", "")),
        f'While a job is queued, its page says: "{job.QUEUE_SENTENCE}"',
        "",
        "## A recipient",
        "",
        *_outline(outcome.__doc__ or ""),
        "",
        "What an outcome rests on, weakest first. A recipient's state only ever moves to stronger evidence.",
        "",
        "| Evidence | Means |",
        "|---|---|",
        *(f"| `{evidence}` | {EVIDENCE_MEANINGS[evidence]} |" for evidence in Evidence),
        "",
    ])


def _outline(docstring: str) -> list[str]:
    """The module's own words, its drawing in a code block."""
    lines: list[str] = []
    drawing = False
    for line in docstring.strip().splitlines()[2:]:
        if line.strip() and line.startswith("    ") != drawing:
            drawing = not drawing
            if drawing:
                lines.append("```text")
            else:
                lines[-1:] = ["```", ""]
        lines.append(line.removeprefix("    ") if drawing else line)
    return lines


if __name__ == "__main__":
    PATH.write_text(render())
