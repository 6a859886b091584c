"""Writes what the demo sends: recipients.csv, opt_outs.csv and logo.png in src/postroom/doors/sample/.

    python tools/make_sample.py

The same bytes on every run: the files are tracked, and this script says where they come from. After the exclusions that
the demo shows on its gate, exactly 5,000 recipients remain:

    rows = 5,000 deliverable + 120 duplicates (60 differ only in case) + 60 opted out + 20 that are no addresses

Of the 5,000 a dozen have no name, so that the check before the approval has something to say.

Names are made of common given names and initials of many languages; addresses are below the reserved names `test` and
`example` (RFC 2606), so that nothing can ever reach a person.
"""

from __future__ import annotations

import csv
import io
import math
import random
import struct
import zlib
from pathlib import Path

SAMPLE = Path(__file__).resolve().parent.parent / "src" / "postroom" / "doors" / "sample"

DELIVERABLE = 5_000
DUPLICATES = 120
OPTED_OUT = 60

COLUMNS = ("email", "name", "city", "course", "language", "code")

# language -> given names, cities, courses. Each list is short: what counts is the script, not the number.
WORLD: dict[str, tuple[str, str, str]] = {
    "en": ("Ada,Grace,Oliver,Ruby,Noah,O'Malley", "Leeds,Cork,St. John's", 'Swimming,Chess club,"Clay"'),
    "pl": ("Żaneta,Łukasz,Świętosława,Grażyna,Józef", "Łódź,Gdańsk,Żywiec", "Pływanie,Język włoski,Gitara"),
    "cs": ("Zdeněk,Šárka,Jiří,Růžena,Tomáš", "Plzeň,Ústí nad Labem,Jičín", "Keramika,Lyžování,Šachy"),
    "de": ("Jürgen,Käthe,Björn,Zoë,Günther", "Köln,Füssen,Groß-Gerau", "Töpfern,Nähen für Anfänger,Schwimmen"),
    "fr": ("Zoé,François,Maëlle,Noël,Anaïs", "L'Haÿ-les-Roses,Besançon,Orléans", "Poterie,Danse,Théâtre"),
    "tr": ("İrem,Çağrı,Işıl,Gökhan,Şebnem", "İzmir,Eskişehir,Muğla", "Yüzme,Satranç,Resim"),
    "vi": ("Nguyệt,Thắng,Hồng,Đức,Quỳnh", "Đà Nẵng,Huế,Cần Thơ", "Bơi lội,Cờ vua,Hội họa"),
    "is": ("Þóra,Sigríður,Æsa,Guðmundur", "Ísafjörður,Höfn", "Sund,Prjón"),
    "el": ("Ελένη,Γιώργος,Δήμητρα,Σωκράτης", "Αθήνα,Θεσσαλονίκη,Πάτρα", "Κολύμβηση,Σκάκι,Ζωγραφική"),
    "uk": ("Оксана,Юрій,Ївга,Ґалина", "Львів,Київ,Чернівці", "Плавання,Шахи,Малювання"),
    "bg": ("Желязко,Щедра,Борислав", "София,Пловдив", "Плуване,Шах"),
    "ka": ("ნინო,გიორგი,თამარი", "თბილისი,ქუთაისი", "ცურვა,ჭადრაკი"),
    "hy": ("Անահիտ,Արամ,Լուսինե", "Երևան,Գյումրի", "Լող,Շախմատ"),
    "ar": ("ليلى,يوسف,مريم,خالد", "القاهرة,عمّان,فاس", "السباحة,الشطرنج,الرسم"),
    "he": ("נועה,דוד,שירה,אורי", "חיפה,ירושלים", "שחייה,שחמט,ציור"),
    "fa": ("پریسا,آرش,ژاله", "شیراز,اصفهان", "شنا,نقاشی"),
    "hi": ("प्रिया,अर्जुन,लक्ष्मी,श्रेया", "वाराणसी,पुणे", "तैराकी,शतरंज,चित्रकला"),
    "ta": ("மீனா,குமரன்,செல்வி", "மதுரை,கோவை", "நீச்சல்,சதுரங்கம்"),
    "th": ("สมชาย,น้ำฝน,พิมพ์", "เชียงใหม่,ขอนแก่น", "ว่ายน้ำ,หมากรุก"),
    "zh": ("小明,雨桐,子涵,欣怡", "成都,杭州,臺北", "游泳,国际象棋,绘画"),
    "ja": ("さくら,陽菜,ケンジ,𠮷子", "京都,札幌,那覇", "水泳,チェス,書道"),
    "ko": ("지우,서연,민준,하은", "부산,전주", "수영,체스,그림"),
}

# Values that a template, a header, a CSV reader or a page must carry as they are. All of them are harmless text.
ODD_NAMES = (
    "Zo\u0065\u0308 (combining)",
    "Q\u0323u\u0302y\u0300nh",
    "🎻 Ilse 🎨",
    "👩🏽‍🚀 Sol",
    'Ruby "Bee" B.',
    "Noah, Jr.",
    "D'Arcy O'Neil-Þór",
    "<script>alert('hello')</script>",
    "<b>Bold</b> & Co.",
    "{{ name }}",
    "{% raw %}",
    "=?utf-8?q?not_encoded?=",
    "=1+1",
    "\u202bمريم\u202c",
    "A" * 120,
    "",
    "   ",
    ". leading dot",
)

NOT_ADDRESSES = (
    "",
    "   ",
    "ada",
    "ada.example.test",
    "@club.example",
    "grace@",
    "grace@@club.example",
    "ruby bee@club.example",
    "ruby@club example",
    "noah..b@club.example",
    ".noah@club.example",
    "noah.@club.example",
    "żaneta@.example",
    "小明@club@example",
    "oliver@.club.example",
    "oliver@club..example",
    "Zoë <zoe@club.example>",
    "ada@club.example, grace@club.example",
    "ruby(bee@club.example",
    "ada@club.example;drop",
)

DOMAINS = (
    "mail.example.test",
    "post.example.test",
    "club.example",
    "school.example",
    "home.example",
    "studio.example",
)

Row = tuple[str, str, str, str, str, str]


def person(number: int, draw: random.Random) -> Row:
    """The row of deliverable recipient `number`; its address is unique by the number in it."""
    language = draw.choice(list(WORLD))
    names, cities, courses = (values.split(",") for values in WORLD[language])
    name = f"{draw.choice(names)} {draw.choice('ABDEGKLMRSTVZ')}."
    if number % 250 == 7:
        name = ODD_NAMES[number // 250 % len(ODD_NAMES)]
    if number % 500 == 99:
        name = ""
    email = f"{language}.{draw.choice(('reader', 'guest', 'member', 'pupil'))}{number:04d}@{draw.choice(DOMAINS)}"
    if number % 97 == 0:
        email = email.replace("@", "+news@")
    return email, name, draw.choice(cities), draw.choice(courses), language, f"C-{draw.randrange(16**6):06X}"


def other_case(email: str, draw: random.Random) -> str:
    local, _, domain = email.partition("@")
    return draw.choice((local.title(), local.upper(), local)) + "@" + domain.upper()


def build() -> tuple[list[Row], list[str]]:
    draw = random.Random("postroom sample")
    people = [person(number, draw) for number in range(1, DELIVERABLE + OPTED_OUT + 1)]
    opted_out = people[DELIVERABLE:]
    rows = [*people]
    for place, row in enumerate(draw.sample(people[:DELIVERABLE], DUPLICATES)):
        rows.append((row[0] if place % 2 else other_case(row[0], draw), *row[1:]))
    for place, email in enumerate(NOT_ADDRESSES):
        rows.append((email, *person(9000 + place, draw)[1:]))
    draw.shuffle(rows)
    # An opt-out counts whatever the case it was written in.
    opt_outs = sorted(row[0].upper() if place % 4 == 0 else row[0] for place, row in enumerate(opted_out))
    return rows, opt_outs


def as_csv(header: tuple[str, ...], rows: list[Row] | list[tuple[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def logo(size: int = 96) -> bytes:
    """A PNG: a light disc with two waves, each pixel the mean of nine points of it."""
    def covered(x: float, y: float) -> bool:
        is_wave = any(abs(y - middle - 0.05 * math.sin(9 * x)) < 0.05 for middle in (0.42, 0.62))
        return math.hypot(x - 0.5, y - 0.5) < 0.48 and not is_wave

    def alpha(column: int, row: int) -> int:
        points = [covered((column + a) / size, (row + b) / size) for a in (0.2, 0.5, 0.8) for b in (0.2, 0.5, 0.8)]
        return 255 * sum(points) // len(points)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = (b"".join(bytes((169, 214, 207, alpha(column, row))) for column in range(size)) for row in range(size))
    pixels = zlib.compress(b"".join(b"\0" + line for line in lines), 9)
    head = struct.pack(">IIBBBBB", size, size, 8, 6, 0, 0, 0)  # eight bits each of red, green, blue and alpha
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def main() -> None:
    rows, opt_outs = build()
    SAMPLE.mkdir(exist_ok=True)
    (SAMPLE / "recipients.csv").write_bytes(as_csv(COLUMNS, rows))
    (SAMPLE / "opt_outs.csv").write_bytes(as_csv(("email",), [(email,) for email in opt_outs]))
    (SAMPLE / "logo.png").write_bytes(logo())


if __name__ == "__main__":
    main()
