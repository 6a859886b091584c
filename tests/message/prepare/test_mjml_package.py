"""The documents in `mjml/` become what the mjml package makes of them, but for white space, order, and what is listed here.

Needs Node and the package, in `node_modules` or wherever NODE_PATH says: `npm install --no-save mjml@4`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from postroom.message.content import Content
from postroom.message.prepare import source

DOCUMENTS = sorted((Path(__file__).parent / "mjml").glob("*.mjml"))
SCRIPT = """
const mjml = require("mjml")
const made = JSON.parse(require("fs").readFileSync(0)).map(one => mjml(one, {validationLevel: "skip", fonts: {}}).html)
console.log(JSON.stringify(made))
"""
# What differs and shows nowhere.
EXPLAINED = (
    (r"<!\[endif\]-->\s*<!--\[if mso \| IE\]>", ""),  # two conditionals side by side are one
    (r"(mj-carousel-(?:radio-)?|(?:id|for)=\")[0-9a-f]{8,16}\b", r"\1ID"),  # drawn at random there
    (r"(\d)\.\d+px", r"\1px"),  # pixels cut off there, for Outlook
    (r"@media screen,\s*yahoo", "@media screen yahoo"),  # which is no media query there
    (r"#([0-9a-f])([0-9a-f])([0-9a-f])(?![0-9a-f])", r"#\1\1\2\2\3\3"),  # colours written in full there
    (r'(<td[^>]*) vertical-align="middle"', r"\1"),  # an attribute that HTML does not have, of the cell around a button here
)
# What differs and shows.
OTHERWISE = {"hero-of-fluid-height": ["the library gives it no height of its own"]}


@pytest.fixture(scope="module")
def made_by_the_package() -> list[str]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("MJML WAS NOT COMPARED with the mjml package: there is no Node here.")
    written = json.dumps([path.read_text() for path in DOCUMENTS])
    ran = subprocess.run([node, "-e", SCRIPT], input=written, capture_output=True, text=True, env=os.environ, check=False)
    if "Cannot find module 'mjml'" in ran.stderr:
        pytest.skip("MJML WAS NOT COMPARED with the mjml package, which is not there: npm install --no-save mjml@4")
    assert ran.returncode == 0, ran.stderr
    made: list[str] = json.loads(ran.stdout)
    return made


def parts(html: str) -> list[str]:
    """Tags, each with its attributes in order, and what stands between them; of a style its declarations in order."""
    for pattern, instead in EXPLAINED:
        html = re.sub(pattern, instead, html)
    html = re.sub(r"(<style[^>]*>)(.*?)(</style>)", _sheet, html, flags=re.DOTALL)
    found = []
    for tag, text in re.findall(r"(<[^>]*>)|([^<]+|<)", html):
        if tag and not tag.startswith("<!"):
            attributes = sorted(map(_attribute, re.findall(r'([\w:-]+)\s*=\s*"([^"]*)"', tag)))
            found.append("".join([re.findall(r"</?[\w:-]+", tag)[0], *attributes]))
        elif words := " ".join((tag or text).split()):
            found.append(words)
    return found


def _sheet(found: re.Match[str]) -> str:
    """What a sheet says, in order of its text: the rules that come in another order, those of columns, overrule none."""
    tight = re.sub(r"\s*([{};:,+!])\s*", r"\1", found[2])
    return found[1] + " ".join(sorted(one.strip() for one in re.findall(r"[^{}]+", tight) if one.strip())) + found[3]


def _attribute(given: tuple[str, str]) -> str:
    name, value = given
    match name:
        case "style":
            value = ";".join(sorted("".join(one.split()) for one in value.split(";") if one.strip()))
        case "class":
            value = " ".join(sorted(value.split()))
    return f' {name}="{value.strip()}"' if value.strip() or name == "alt" else ""


def test_there_are_thirty_documents() -> None:
    assert len(DOCUMENTS) >= 30


@pytest.mark.parametrize("number", [
    pytest.param(number, id=path.stem, marks=[pytest.mark.xfail(strict=True, reason=why) for why in OTHERWISE.get(path.stem, ())])
    for number, path in enumerate(DOCUMENTS)])  # fmt: skip
def test_mjml_becomes_what_the_package_makes_of_it(number: int, made_by_the_package: list[str]) -> None:
    made = source.prepare(Content("Subject", None, None, "news@example.org", mjml=DOCUMENTS[number].read_text())).html
    assert parts(made or "") == parts(made_by_the_package[number])
