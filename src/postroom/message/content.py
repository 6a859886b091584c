"""What a message is made of: what a person writes, what is rendered of it, and how it names its sender.

All three are frozen with the job, and an approval is bound to them.
"""

from __future__ import annotations

from dataclasses import dataclass

TEMPLATE_MAX = 1_048_576  # octets of one template
MARKDOWN_MAX = 262_144  # octets; its reader takes up to 25 s for each MiB


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with the message. Its octets are kept apart, once for an account, by `digest` (SHA-256 in hex).

    With a `content_id` it is shown inside the HTML, which names it as `cid:…`; without one it is a file to save.
    """

    name: str
    content_type: str
    size: int
    digest: str
    content_id: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """One message to everyone, as it was written. All but From, Reply-To, the headers and the files are Liquid templates.

    The body is HTML, Markdown or MJML (one of them), a text, or both. With `inline_css` what its style sheets say is written
    into its elements too. `headers` are (name, value) of fields beside Postroom's own (`wire/own_headers.py`).
    """

    subject: str
    html: str | None
    text: str | None
    from_address: str
    from_name: str = ""
    reply_to: str | None = None
    preheader: str = ""
    markdown: str | None = None
    mjml: str | None = None
    attachments: tuple[Attachment, ...] = ()
    inline_css: bool = True
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Bodies:
    """The two parts that are rendered, Liquid templates too: made of a content once, when it is submitted.

    Kept with the job, so that every worker renders the same, whatever version of the Markdown, MJML and CSS libraries it has.
    """

    html: str | None
    text: str | None


@dataclass(frozen=True, slots=True)
class Identity:
    """How a job's messages name their sender beside From, and the way out.

    `unsubscribe_url` is https:, http: or mailto:; `{token}` and `{email}` in it stand for the recipient's own.
    `bounce_domain`: where bounces come back to, by an envelope sender for each recipient.
    """

    account_id: int
    name: str
    unsubscribe_url: str | None = None
    bounce_domain: str | None = None

    @property
    def has_one_click(self) -> bool:
        """Whether a POST to the address takes off one recipient: it is https: and itself says whom (RFC 8058 3.1). What follows
        a "#" no server gets."""
        address = (self.unsubscribe_url or "").partition("#")[0]
        return address.startswith("https:") and ("{token}" in address or "{email}" in address)
