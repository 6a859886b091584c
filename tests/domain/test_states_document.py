"""docs/states.md is drawn from the code."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_states_document_says_what_the_code_says() -> None:
    render = runpy.run_path(str(ROOT / "tools" / "render_states.py"))["render"]
    assert (ROOT / "docs" / "states.md").read_text() == render(), "run: python tools/render_states.py"
