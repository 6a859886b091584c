"""A preview and a test message as they are shown in JSON. The keys are a promise to other programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from postroom.flow.preview.look import Preview
from postroom.flow.preview.try_out import Tried

SOURCE_EXAMPLE = "From: The club <club@example.com>\r\nTo: zoe@example.com\r\nSubject: Spring courses, Zoë\r\n\r\n"
PREVIEW_EXAMPLE: dict[str, Any] = {
    "position": 12, "email": "zoe@example.com", "subject": "Spring courses, Zoë", "from": "The club <club@example.com>",
    "html": "<p>Hello Zoë,</p>", "text": "Hello Zoë,\n", "source": SOURCE_EXAMPLE, "size": 1874,
    "attachments": [{"name": "programme.pdf", "content_type": "application/pdf", "size": 48213, "inline": False}],
    "headers": {"X-Campaign": "spring"}, "blank_fields": [], "unknown_fields": ["city"],
    "reason": None, "note": None, "remarks": [],
    "list_remarks": ["The addresses are those of the column \"email\"."]}
TEST_EXAMPLE: dict[str, Any] = {"position": 12, "answers": [
    {"to": "office@example.com", "result": "accepted", "code": 250, "enhanced_code": "2.0.0", "reply": "2.0.0 Ok: queued as 4F7",
     "reason": None}]}


class FileShown(BaseModel):
    """A file of the message. `inline`: an image that the HTML shows."""

    name: str
    content_type: str
    size: int
    inline: bool


class PreviewShown(BaseModel):
    """One recipient's message, read back from its own bytes."""

    model_config = ConfigDict(json_schema_extra={"examples": [PREVIEW_EXAMPLE]})

    position: int
    email: str
    subject: str
    sender: Annotated[str, Field(serialization_alias="from")]
    html: str | None
    text: str | None
    source: Annotated[str, Field(description="The message as it travels, its lines ended by CRLF.")]
    size: Annotated[int, Field(description="Octets of the message.")]
    attachments: list[FileShown]
    headers: Annotated[dict[str, str], Field(description="The job's own header fields.")]
    blank_fields: Annotated[list[str], Field(description="Printed, and blank for this recipient.")]
    unknown_fields: Annotated[list[str], Field(description="Named by the message; this recipient has none of that name.")]
    reason: Annotated[str | None, Field(description="Why this recipient gets no message; then there is none to show.")]
    note: Annotated[str | None, Field(description="What is missing of it here, such as its signature.")]
    remarks: Annotated[list[str], Field(
        description="What is odd in the message, whoever gets it: another system's merge tags, or more HTML than readers show.")]
    list_remarks: Annotated[list[str], Field(description="Of a draft: how its list is read, up to this recipient.")]


class TestAnswer(BaseModel):
    """`reply` is the gateway's own text, `reason` ours. unknown: the gateway may have it; unsent: it was not handed off."""

    to: str
    result: Annotated[str, Field(description="accepted, refused, unknown or unsent.")]
    code: int | None
    enhanced_code: str | None
    reply: str | None
    reason: str | None


class TestShown(BaseModel):
    """What became of a test message, address by address, in the order in which they were tried."""

    model_config = ConfigDict(json_schema_extra={"examples": [TEST_EXAMPLE]})

    position: int
    answers: list[TestAnswer]


def preview_shown(told: Preview) -> PreviewShown:
    return PreviewShown(
        position=told.position, email=told.address, subject=told.subject, sender=told.sender, html=told.html, text=told.text,
        source=told.source.decode(), size=len(told.source),
        attachments=[FileShown(name=one.name, content_type=one.content_type, size=one.size, inline=bool(one.content_id))
                     for one in told.files],
        headers=dict(told.headers),
        blank_fields=list(told.blank), unknown_fields=list(told.unknown), reason=told.reason, note=told.note,
        remarks=list(told.remarks), list_remarks=list(told.list_remarks))


def tried_shown(position: int, tried: Sequence[Tried]) -> TestShown:
    return TestShown(position=position, answers=[
        TestAnswer(to=one.address, result=one.answer.value, code=one.code, enhanced_code=one.enhanced_code,
                   reply=None if one.code is None else one.words, reason=one.words if one.code is None else None)
        for one in tried])
