"""From what a person wrote, HTML, Markdown or MJML, to the two Liquid templates that are rendered.

Once for a job, when it is submitted, so that no worker needs the libraries, which are imported where they are used. Liquid comes
through every step as it was written, wherever it stands: it is taken out before and put back afterwards (`masked.py`). Nothing
is read from disk or network. Bounded in time and depth, whatever is given.

Fails with `InvalidInput`: what `template.size_faults` finds, MJML that cannot be read, Liquid that a step would lose or move,
a preheader without HTML, a result that is too large.
"""

from __future__ import annotations

import html as html_text
import re

from postroom.errors import InvalidInput, storable
from postroom.message.content import TEMPLATE_MAX, Bodies, Content
from postroom.message.liquid.spelling import as_meant
from postroom.message.liquid.template import refuse, size_faults
from postroom.message.markup import tags
from postroom.message.markup.masked import Masked
from postroom.message.prepare import markdown, mjml, plaintext, styles

_SHEET = """
body { margin: 0; padding: 24px 16px; color: #222222 }
body { font: 16px/1.5 -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif }
.text { max-width: 600px; margin: 0 auto }
h1 { font-size: 28px; line-height: 1.25; margin: 0 0 16px }
h2 { font-size: 22px; line-height: 1.3; margin: 28px 0 12px }
h3 { font-size: 18px; line-height: 1.4; margin: 24px 0 8px }
p, ul, ol, pre, table, blockquote { margin: 0 0 16px }
blockquote { padding: 0 0 0 16px; border-left: 3px solid #cccccc; color: #555555 }
pre, code { font-family: Menlo, Consolas, monospace; font-size: 14px }
pre { padding: 12px; background: #f4f4f4; white-space: pre-wrap }
table { border-collapse: collapse }
th, td { padding: 6px 12px; border: 1px solid #dddddd }
img { max-width: 100%; height: auto }
hr { border: 0; border-top: 1px solid #dddddd; margin: 24px 0 }
"""
_DOCUMENT = """\
<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{sheet}</head>
<body>
<div class="text">
{body}</div>
</body>
</html>
"""
# Readers show the beginning of the text beside the subject; the padding keeps what follows the preheader out of that line.
_PREHEADER = (
    '<div style="display:none;max-height:0;max-width:0;overflow:hidden;opacity:0;font-size:1px;line-height:1px;mso-hide:all">'
    "{}" + "&zwnj;&nbsp;" * 120 + "</div>"
)
_DOCTYPE = re.compile(r"<!doctype", re.IGNORECASE)
_HAS_SHEET = re.compile(r"<style", re.IGNORECASE)


def prepare(content: Content) -> Bodies:
    """Return the templates that a content comes to. Raises `InvalidInput`."""
    refuse(size_faults(content))
    html = _html(content)
    text = as_meant(content.text or "") if (content.text or "").strip() else None
    if html and not text:
        text = plaintext.from_html(html)
    if content.preheader.strip():
        if not html:
            raise InvalidInput("A preheader needs an HTML part to stand in, and there is none.", field="preheader")
        html = _with_preheader(html, as_meant(storable(content.preheader, "preheader")))
    for name, body in (("HTML", html), ("text", text)):
        if len((body or "").encode("utf-8")) > TEMPLATE_MAX:
            message = f"The {name} that the message comes to is larger than {TEMPLATE_MAX // 1024} KiB."
            raise InvalidInput(message, field=name.lower())
    return Bodies(html, text)


def _html(content: Content) -> str | None:
    readers = {"html": _from_html, "markdown": _from_markdown, "mjml": _from_mjml}
    for field, read in readers.items():
        written = getattr(content, field) or ""
        if written.strip():
            return read(as_meant(storable(written, field)), content.inline_css)
    return None


def _from_html(written: str, inline_css: bool, field: str = "html") -> str:
    if not inline_css or not _HAS_SHEET.search(written):
        return written
    masked = Masked(written, field)
    return masked.restored(styles.inlined(masked))


def _from_markdown(written: str, inline_css: bool) -> str:
    """Our own sheet stays where somebody else's is, which may overrule it."""
    masked = Masked(written, "markdown")
    body = markdown.to_html(masked)
    stays = not inline_css or _HAS_SHEET.search(body) is not None
    html = _DOCUMENT.format(sheet=f"<style>{_SHEET}</style>\n" if stays else "", body=body)
    if not stays:
        html = styles.with_sheet(masked, html, _SHEET)
    # An address is written behind the text of its link, or far away from it, and comes out in front.
    html = masked.restored(html, outputs_may_move=True)
    return _from_html(html, inline_css, "markdown") if stays else html


def _from_mjml(written: str, inline_css: bool) -> str:
    """Only sheets that say so are inlined, whatever the others say, as MJML has it."""
    masked = Masked(written, "mjml")
    html, sheet = mjml.to_html(masked)
    if sheet and inline_css:
        html = styles.with_sheet(masked, html, sheet)
    elif sheet:
        html = html.replace("</head>", f"<style>{sheet}</style></head>", 1)
    return masked.restored(html)


def _with_preheader(html: str, preheader: str) -> str:
    masked = Masked(preheader)
    place = _beginning(html)
    return html[:place] + _PREHEADER.format(masked.unmasked(html_text.escape(masked.text, quote=False))) + html[place:]


def _beginning(html: str) -> int:
    """Return where the body begins: behind its tag, or else behind the head or the doctype, or at the very beginning.

    What stands in a block of Liquid does not count: it may be printed for some only, or often, or as it is.
    """
    masked = Masked(html)
    place = 0
    for tag in tags.read(masked.text):
        if masked.branch(tag.end):
            continue
        if tag.name == "body" and not tag.is_end:
            place = tag.end
            break
        if (tag.name == "head" and tag.is_end) or (tag.name == "!" and _DOCTYPE.match(masked.text, tag.start)):
            place = tag.end
    return len(masked.unmasked(masked.text[:place]))
