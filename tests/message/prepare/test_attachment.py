"""Files are told by what they hold, shown where the HTML names them, and come back from any reader as they went in."""

import hashlib
import re
import subprocess
from dataclasses import replace
from email import message_from_bytes, policy

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from postroom.errors import InvalidInput
from postroom.message.content import Attachment
from postroom.message.prepare import attachment
from postroom.message.wire import file_part

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
LOGO = attachment.describe("logo.png", PNG)
NAMES = [
    "a.txt", 'quo"te.pdf', "back’s = ?.doc", "=?utf-8?q?x?=.png", "a=?b", "%41%.txt", "a; filename=b", "a*0*=utf-8''x",
    "  two  spaces ", "Grüße aus Łódź.pdf", "你好.docx", "مرحبا.pdf", "👩‍👩‍👧‍👦.jpg", "e\u0301\u0323", "x" * 200, "é" * 200,
    "😀" * 200, "a" * 190 + ".tar.gz", "(a).b,c:d<e>@[f]", "'", "utf-8''x", "a\u00a0b", "\ufeffa", "\u202egpj.exe", "..a",
]  # fmt: skip
names = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="/\\"), min_size=1, max_size=200)
names |= st.text("ab \"%=?'*;é😀.", min_size=1, max_size=200) | st.sampled_from(NAMES)
names = names.filter(lambda name: bool(name.strip()) and name not in (".", "..") and "{{" not in name and "{%" not in name)


def file(name: str, octets: bytes = b"x", *, content_id: str = "") -> Attachment:
    return replace(attachment.describe(name, octets), content_id=content_id)


def fault_of(action: object, *arguments: object) -> str:
    with pytest.raises(InvalidInput) as caught:
        action(*arguments)  # type: ignore[operator]
    assert caught.value.faults[0].field == "attachments"
    return caught.value.faults[0].message


@pytest.mark.parametrize(
    ("name", "octets", "content_type"),
    [
        ("a.png", PNG, "image/png"),
        ("a.txt", PNG, "image/png"),
        ("a", b"\xff\xd8\xff\xe0\0\x10JFIF\0\1" + b"\0" * 20, "image/jpeg"),
        ("a.JPG", b"\xff\xd8\xff\xdb\0\x10" + b"\0" * 20, "image/jpeg"),
        ("a.gif", b"GIF89a" + b"\0" * 20, "image/gif"),
        ("a.png", b"<!DOCTYPE html><html>", "application/octet-stream"),
        ("a.bin", b"%PDF-1.7\n\xff", "application/pdf"),
        ("a.epub", b"PK\x03\x04\x14\0\0\0" + b"\0" * 22 + b"mimetypeapplication/epub+zip", "application/epub+zip"),
        ("a.docx", b"PK\x03\x04\x14\0\x06\0" + b"\0" * 40, DOCX),
        ("a.what", b"PK\x03\x04\x14\0\0\0" + b"\xfe" * 40, "application/zip"),
        ("a.txt", "é".encode(), "text/plain"),
        ("a.txt", b"\xff\xfe", "application/octet-stream"),
        ("a.txt", b"a\0b", "application/octet-stream"),
        ("a.csv", b"", "text/csv"),
        ("a.CSV", b"a,b\r\n", "text/csv"),
        ("a.ics", b"BEGIN:VCALENDAR", "text/calendar"),
        ("a.vcf", b"BEGIN:VCARD", "text/vcard"),
        ("a.html", b"<p>", "text/html"),
        ("a.svg", b"<svg/>", "image/svg+xml"),
        ("a.eml", b"From: a@b.example\r\n\r\n", "application/octet-stream"),
        ("a.pdf", b"no pdf", "application/octet-stream"),
        ("a", b"", "application/octet-stream"),
        ("a.bmp", b"no bitmap", "application/octet-stream"),
        ("txt", b"a", "application/octet-stream"),
    ],
)
def test_a_type_is_told_from_the_octets(name: str, octets: bytes, content_type: str) -> None:
    described = attachment.describe(name, octets)
    assert described == Attachment(name, content_type, len(octets), hashlib.sha256(octets).hexdigest())


@pytest.mark.parametrize(
    "name",
    ["", " ", ".", "..", "a\r\nb", "a\0", "a\tb", "a/b", "a\\b", "\x7f", "\x85", "a\u2028b", "\ud800", "x" * 201],
)
def test_a_name_that_no_file_may_have_is_refused(name: str) -> None:
    assert fault_of(attachment.describe, name, b"x")


def test_a_name_is_the_same_for_everybody() -> None:
    for name, field in (("{{ number }}.pdf", "{{ number }}"), ("to {% if x %}you.pdf", "{% if x %}"), ("no. {{ 7", "{{ 7")):
        assert f'takes no merge field: "{field}"' in fault_of(attachment.describe, name, b"x")
    assert attachment.describe("{a} {b}.pdf", b"x").name == "{a} {b}.pdf"


def test_files_are_few_and_small_and_have_names_of_their_own() -> None:
    attachment.check([replace(file(f"{n}"), size=512 * 1024) for n in range(20)])
    assert "21 files" in fault_of(attachment.check, [file(f"{n}") for n in range(21)])
    assert "10485761 octets" in fault_of(attachment.check, [replace(file("a"), size=10_485_760), file("b")])
    assert '"a"' in fault_of(attachment.check, [file("a"), file("b"), file("a")])


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("logo.png", '<img src="cid:{}">'),
        ("logo.png", "<IMG SRC = cid:{}>"),
        ("logo.png", "<style>p {{ background: url( CID:{}) }}</style>"),
        ("logo.png", "<td background='cid:{}' {{% if a %}}class=\"b\"{{% endif %}}>"),
        ("logo.png", '<img src="{{% if a %}}cid:{}{{% endif %}}">'),
        ("logo.png", "<img src=\"{{{{ a | default: 'cid:{}' }}}}\">"),
        ("logo.png", '<!--[if mso]><v:fill src="cid:{}"><![endif]-->'),
        ("logo.png", '<img srcset="cid:{} 1x, https://a.example 2x">'),
    ],
)
def test_an_image_is_shown_where_the_html_names_it(name: str, written: str) -> None:
    (placed,), html = attachment.placed([LOGO], written.format(name))
    assert placed == replace(LOGO, content_id=placed.content_id)
    assert re.fullmatch(r"[0-9a-f]{32}@postroom", placed.content_id)
    assert html == written.format(placed.content_id)


@pytest.mark.parametrize("way", ["my logo & é (1).png", "my logo &amp; é (1).png", "my%20logo%20%26%20%C3%A9%20%281%29.png",
                                 "my%20logo%20%26%20%C3%A9%20(1).png"])
def test_a_name_may_be_escaped_or_quoted(way: str) -> None:
    (placed, other), html = attachment.placed([file("my logo & é (1).png", PNG), file("my", PNG)], f'<img src="cid:{way}">')
    assert html == f'<img src="cid:{placed.content_id}">'
    assert other.content_id == ""


def test_content_ids_are_stable_and_differ() -> None:
    files = [file("a.png", PNG), file("b.png", PNG)]
    html = '<img src="cid:a.png"><img src="cid:b.png"><img src="cid:a.png">'
    placed, made = attachment.placed(files, html)
    assert (placed, made) == attachment.placed(files, html)
    assert placed[0].content_id != placed[1].content_id
    assert re.findall("cid:([^\"]+)", made or "") == [placed[n].content_id for n in (0, 1, 0)]


@pytest.mark.parametrize("written", ["cid:other.png", "cid:LOGO.png", "cid:logo.pngx", "cid:{{ name }}.png", "cid:logo"])
def test_an_image_that_is_not_there_is_a_fault(written: str) -> None:
    assert written[:5] in fault_of(attachment.placed, [LOGO], f'<img src="{written}">')
    assert fault_of(attachment.placed, [], f"<img src='{written}'>")


def test_only_an_image_may_be_inline() -> None:
    assert "application/pdf" in fault_of(attachment.placed, [file("a.pdf", b"%PDF-1.7")], '<img src="cid:a.pdf">')


@pytest.mark.parametrize("html", ["cid:none", "<p>see (cid:none)</p>", "<!-- 'cid:none' -->", "<p title='acid:x'>", None])
def test_a_text_that_only_looks_like_an_image_stays(html: str | None) -> None:
    assert attachment.placed([LOGO], html) == ((LOGO,), html)


def lines_of(part: bytes) -> list[bytes]:
    assert b"\r" not in part.replace(b"\r\n", b"")
    assert b"\n" not in part.replace(b"\r\n", b"")
    assert part.isascii()
    assert part.endswith(b"\r\n")
    return part.split(b"\r\n")


@given(names, st.binary(max_size=200), st.booleans())
@example(NAMES[15], b"", False)
@settings(max_examples=1_500)
def test_a_part_comes_back_from_the_standard_library(name: str, octets: bytes, inline: bool) -> None:
    described = replace(file(name, octets), content_id="abc@postroom" if inline else "")
    part = file_part.mime_part(described, octets)
    lines = lines_of(part)
    assert all(len(line) <= 78 for line in lines[1:])
    assert len(lines[0]) <= max(78, len(f"Content-Type: {described.content_type};"))  # a type has no place to fold at
    parsed = message_from_bytes(part, policy=policy.default)
    identified = ["Content-ID"] if inline else []
    assert parsed.keys() == ["Content-Type", "Content-Disposition", *identified, "Content-Transfer-Encoding"]
    assert parsed["Content-Disposition"].params["filename"] == name
    assert parsed["Content-Type"].params["name"] == name
    assert set(parsed["Content-Type"].params) <= {"name", "charset"}
    assert set(parsed["Content-Disposition"].params) == {"filename"}
    assert parsed.get_content_type() == described.content_type
    assert parsed.get_content_disposition() == ("inline" if inline else "attachment")
    assert parsed.get_payload(decode=True) == octets
    assert all(len(line) == 76 for line in lines[lines.index(b"") + 1 : -2])


# Email::MIME, which shares nothing with the standard library: headers, file name and body of each part, NUL between all.
PERL = r"""
use Email::MIME; use Encode; binmode STDIN; binmode STDOUT; local $/ = "\0"; $| = 1;
while (my $part = <STDIN>) { chomp $part; my $m = Email::MIME->new($part);
  print join("\0", join(" ", $m->header_names), encode("UTF-8", $m->filename), unpack("H*", $m->body)), "\0"; }
"""


@given(st.lists(names, min_size=1, max_size=60))
@example(NAMES)
@settings(max_examples=25)
def test_a_part_comes_back_from_perl(written: list[str]) -> None:
    octets = b"\xff\x01 body"
    parts = [file_part.mime_part(file(name, octets, content_id="a@postroom"), octets) for name in written]
    answer = subprocess.run(["perl", "-e", PERL], input=b"\0".join(parts) + b"\0", stdout=subprocess.PIPE, check=True).stdout
    found = answer.decode("utf-8").split("\0")[:-1]
    assert found[1::3] == written
    assert set(found[0::3]) == {"Content-Type Content-Disposition Content-ID Content-Transfer-Encoding"}
    assert set(found[2::3]) == {octets.hex()}


def test_a_name_for_readers_that_know_no_rfc_2231_stands_beside_the_other() -> None:
    part = file_part.mime_part(file("Grüße, Łódź.pdf"), b"x").decode()
    assert "filename*=utf-8''Gr%C3%BC%C3%9Fe" in part
    assert '\r\n filename="Gru_e, _odz.pdf"\r\n' in part
    assert 'filename="plain.pdf"\r\n' in file_part.mime_part(file("plain.pdf"), b"x").decode()
    assert "filename*" not in file_part.mime_part(file("plain.pdf"), b"x").decode()


def test_text_is_said_to_be_utf_8() -> None:
    part = file_part.mime_part(file("a.txt", "é".encode()), "é".encode())
    assert message_from_bytes(part, policy=policy.default).get_content() == "é"
    assert part.startswith(b'Content-Type: text/plain; charset=utf-8;\r\n name="a.txt"\r\n')
