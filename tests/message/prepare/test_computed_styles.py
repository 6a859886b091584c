"""What a browser computes for each element of a message is what it computes for what was written.

The templates in `styled/` hold what mail has: media queries, dark mode, Outlook's conditionals, states, rules within each other,
broken HTML, Liquid anywhere.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

import pytest
from liquid import BoundTemplate
from playwright.async_api import Browser, Page

from postroom.message.content import Content
from postroom.message.liquid import merge
from postroom.message.prepare import sheets, source

# Nothing overrules this, so there is something inlined to look at.
PLAIN = "body, table, td, p, div, b, a { text-indent: 3px }\n</style>"
PATHS = sorted((Path(__file__).parent / "styled").glob("*.html"))
TEMPLATES = {path.stem: path.read_text().replace("</style>", PLAIN, 1) for path in PATHS}
STATES = ({"state": "due"}, {"state": ""}, {"state": "paid late"}, {"state": "DUE"})
YES_AND_NO = ({"a": "yes", "list": [1, 2, 3]}, {"a": None, "list": []}, {"a": "", "list": [1]})
# The fields that a template is filled with, one set after the other.
FIELDS: dict[str, tuple[dict[str, object], ...]] = {
    "a-body-in-each-branch": YES_AND_NO,
    "a-class-that-Liquid-makes": STATES,
    "a-newsletter": YES_AND_NO,
    "a-sheet-that-Liquid-leaves-out": YES_AND_NO,
    "a-whole-sheet-in-a-field": ({"sheet": "p { color: green } td { color: gold !important }"}, {"sheet": ""}),
    "an-element-of-any-name": YES_AND_NO,
    "an-element-that-begins-in-one-of-two-ways": YES_AND_NO,
    "attributes-that-Liquid-makes": YES_AND_NO,
    "fields-in-a-sheet": ({"colour": "teal", "width": "50"}, {"colour": "", "width": ""}),
    "rows-that-Liquid-repeats": YES_AND_NO,
    "selectors-and-names-that-Liquid-makes": ({"class": "lead", "name": "margin"}, {"class": "x", "name": "padding"}),
    "tags-in-a-sheet": YES_AND_NO,
    "what-is-captured-and-put-elsewhere": YES_AND_NO,
    "what-stands-in-a-class-that-Liquid-makes": STATES,
}
LIQUID = merge.environment(datetime(2026, 1, 1, tzinfo=UTC), html=True)
COMPUTED = """() => Array.from(document.querySelectorAll("*"), element => {
  const style = getComputedStyle(element);
  return [element.localName, Array.from(style, name => `${name}: ${style.getPropertyValue(name)}`).join("\\n")];
})"""

# Each property that the browser knows, by any name of it, with those that it sets.
PROPERTIES = """() => {
  const names = [];
  for (const name in document.body.style) names.push(name);
  const written = names.map(name => name.replace(/[A-Z]/g, letter => "-" + letter.toLowerCase()).replace(/^webkit/, "-webkit"));
  const vendors = ["", "-webkit-", "-epub-", "-moz-", "-ms-"];
  return written.flatMap(name => vendors.map(vendor => vendor + name)).map(name => {
    const style = document.createElement("p").style;
    style.setProperty(name, "inherit");
    return [name, Array.from(style)];
  }).filter(([name, set]) => set.length);
}"""


def sent(html: str) -> str:
    made = source.prepare(Content("Subject", html, None, "news@example.org")).html
    assert made is not None
    return made


def filled(template: str, fields: dict[str, object]) -> str:
    parsed = merge.parse(template, LIQUID, "html")
    assert isinstance(parsed, BoundTemplate)
    return str(parsed.render(**fields))


async def computed(page: Page, html: str) -> dict[str, list[tuple[str, str]]]:
    """Name and style of every element, on a wide and a narrow screen, by day and by night."""
    await page.set_content(html)
    seen = {}
    for width in (600, 320):
        await page.set_viewport_size({"width": width, "height": 600})
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            seen[f"{width} px, {scheme}"] = [(name, style) for name, style in await page.evaluate(COMPUTED)]
    return seen


def differences(written: dict[str, list[tuple[str, str]]], made: dict[str, list[tuple[str, str]]]) -> list[str]:
    found = []
    for screen, elements in written.items():
        for number, ((name, before), (also_name, after)) in enumerate(zip(elements, made[screen], strict=True)):
            assert name == also_name
            if before != after:
                changed = set(before.splitlines()) ^ set(after.splitlines())
                found.append(f"{screen}, <{name}>, the {number}th: {sorted(changed)}")
    return found


@pytest.mark.parametrize("name", TEMPLATES)
async def test_every_element_looks_as_it_was_written(name: str, browser: Browser) -> None:
    made = sent(TEMPLATES[name])
    context = await browser.new_context(offline=True)
    try:
        page = await context.new_page()
        for fields in FIELDS.get(name, ({},)):
            written = await computed(page, filled(TEMPLATES[name], fields))
            assert differences(written, await computed(page, filled(made, fields))) == []
    finally:
        await context.close()


async def test_properties_that_set_the_same_share_a_family(browser: Browser) -> None:
    context = await browser.new_context(offline=True)
    try:
        properties: dict[str, list[str]] = dict(await (await context.new_page()).evaluate(PROPERTIES))
    finally:
        await context.close()
    assert {"-epub-text-transform", "-webkit-logical-width", "margin"} <= properties.keys()
    setters: dict[str, list[str]] = {}
    for name, longhands in properties.items():
        for longhand in longhands if name != "all" else ():
            setters.setdefault(longhand, []).append(name)
    strangers = {
        (one, other)
        for names in setters.values()
        for one, other in combinations(names, 2)
        if sheets.families(one).isdisjoint(sheets.families(other))
    }
    assert strangers == set()


def test_every_set_of_fields_has_its_template() -> None:
    assert FIELDS.keys() <= TEMPLATES.keys()


def test_there_is_something_to_compare_in_most_templates() -> None:
    assert sum(sent(template) != template for template in TEMPLATES.values()) > 30
