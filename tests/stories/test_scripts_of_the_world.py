"""A message in the scripts of the world: sent through a gateway, taken from there, and shown in a browser as it was written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from playwright.async_api import Browser

from message.second_reader import Read, SecondReader
from postroom.domain.audience import IncomingRow
from postroom.message.liquid.template import Content
from stage import Stage

DIRECTIONS = "[document.documentElement.lang, document.dir, getComputedStyle(document.querySelector('#text')).direction]"
FROM_NAME = "Клуб · 俱乐部 · نادي · Σύλλογος · 🎣"
CONTENT = Content(
    subject="{{ greeting }} – {{ lang }}",
    html='<html lang="{{ lang }}" dir="{{ dir }}"><body style="font: 22px sans-serif">'
    '<h1>{{ greeting }}</h1><p id="text">{{ text }}</p><p id="loud">{{ text | upcase }}</p>'
    '<p id="both">{% if dir == "rtl" %}מכתב{% else %}Letter{% endif %} 12: {{ greeting }} (100 %).</p></body></html>',
    text="{{ greeting }}\n{{ text }}\n",
    from_address="news@club.example",
    from_name=FROM_NAME,
)


@dataclass(frozen=True)
class Written:
    lang: str
    dir: str
    greeting: str
    text: str


SCRIPTS = [
    Written("ar", "rtl", "مرحباً يا ليلى", "يصدر العدد ١٢ من النشرة يوم الجمعة، الساعة 18:30؛ هل ستحضرين؟"),
    Written("he", "rtl", "שָׁלוֹם דָּנָה", "הגיליון החדש (מס׳ 12) יוצא ביום שישי ב־18:30."),
    Written("fa", "rtl", "سلام پرویز", "شمارهٔ تازه می‌آید؛ نیم‌فاصله‌ها می‌مانند."),
    Written("th", "ltr", "สวัสดีคุณน้ำฝน", "ฉบับใหม่ออกวันศุกร์นี้ ที่นี่ไม่มีช่องว่างระหว่างคำ"),
    Written("zh-Hans", "ltr", "你好，王小明", "新一期周五出版：「请勿回复」；𠮷野家在附近。"),
    Written("ja", "ltr", "こんにちは、渡邉さん", "最新号は金曜日に発行されます。カタカナも、ｶﾀｶﾅも、漢字も。"),
    Written("ko", "ltr", "안녕하세요, 지은 님", "새 소식지는 금요일에 나옵니다. 한글과 옛한글 ᄒᆞᆫ글."),
    Written("hi", "ltr", "नमस्ते, प्रिया", "नया अंक शुक्रवार को आएगा। क्षेत्र, ज्ञान, श्री।"),
    Written("bn", "ltr", "নমস্কার, অনিন্দ্য", "নতুন সংখ্যা শুক্রবার বেরোবে। ক্ষ, জ্ঞ, ঙ্গ।"),
    Written("ta", "ltr", "வணக்கம், கவிதா", "புதிய இதழ் வெள்ளிக்கிழமை வெளிவரும். க்ஷ, ஸ்ரீ."),
    Written("ru", "ltr", "Здравствуйте, Ольга", "Новый выпуск – в пятницу. Ё, й и щ остаются собой."),
    Written("el", "ltr", "Γειά σου, Γιώργος", "Το νέο τεύχος βγαίνει την Παρασκευή. Ὀδυσσεύς, ᾧ."),
    Written("hy", "ltr", "Բարև, Արամ", "Նոր համարը լույս կտեսնի ուրբաթ օրը։ Եւ՝ և։"),
    Written("ka", "ltr", "გამარჯობა, ნინო", "ახალი ნომერი პარასკევს გამოვა."),
    Written("vi", "ltr", "Chào chị Nguyễn Thị Hà", "Số mới ra ngày thứ Sáu: ế ộ ữ; e\u0302\u0301 o\u0323\u0302 gồm dấu rời."),
    Written("am", "ltr", "ሰላም አበበ", "አዲሱ እትም ዓርብ ይወጣል።"),
    Written("zxx", "ltr", "👩‍👩‍👧‍👦 👨🏿‍🚀 🏴󠁧󠁢󠁳󠁣󠁴󠁿",
            "🇺🇳 ❤️‍🔥 ✊🏽 1️⃣ e\u0301\u0323\u0302\u0331"
            " Z\u0351\u036b\u0343 –\u200f עברית and العربية in one line."),
]


@pytest.fixture
def second_reader() -> Iterator[SecondReader]:
    with SecondReader() as reader:
        yield reader


async def sent(stage: Stage, reader: SecondReader) -> dict[str, Read]:
    """A job with a recipient for each script; what the gateway took, as another parser reads it, by address."""
    account = await stage.account()
    rows = [IncomingRow(n, f"{one.lang.lower()}@list.example", asdict(one)) for n, one in enumerate(SCRIPTS, 2)]
    async with stage.worker():
        job = await stage.started(account, rows, content=CONTENT)
        await stage.over(account, job.id)
    assert (await stage.sides(account, job.id)).counts == (len(SCRIPTS), 0, 0, 0, 0)
    messages = map(reader.read, stage.sandbox.contents)
    return {dict(message.headers)["To"]: message for message in messages}


async def test_every_script_is_shown_as_it_was_written(stage: Stage, browser: Browser, second_reader: SecondReader) -> None:
    messages = await sent(stage, second_reader)
    page = await browser.new_page(viewport={"width": 700, "height": 330})
    for one in SCRIPTS:
        message = messages[f"{one.lang.lower()}@list.example"]
        assert dict(message.headers)["Subject"] == f"{one.greeting} – {one.lang}"
        assert message.sender == (FROM_NAME, "news@club.example")
        text, html = (part["text"].replace("\r\n", "\n") for part in message.parts)
        assert text == f"{one.greeting}\n{one.text}\n"
        await page.set_content(html)
        if directory := os.environ.get("POSTROOM_TEST_SHOTS"):
            await page.screenshot(path=Path(directory) / f"script-{one.lang}.png")
        shown = {name: await page.locator(name).inner_text() for name in ("h1", "#text", "#loud", "#both")}
        letter = "מכתב" if one.dir == "rtl" else "Letter"
        assert shown == {"h1": one.greeting, "#text": one.text, "#loud": one.text.upper(),
                         "#both": f"{letter} 12: {one.greeting} (100 %)."}
        assert await page.evaluate(DIRECTIONS) == [one.lang, one.dir, one.dir]
