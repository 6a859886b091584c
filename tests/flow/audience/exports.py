"""Lists as the exports of known programs write them, made here: their headings, separators, encodings and quirks, and nobody who
exists. Each with who is to be in it, or with what refuses it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from .workbooks import ods, packed, xls, xlsx

PEOPLE = (
    ("Ann", "Lee", "ann@list.example"),
    ("Björn", "Ångström", "bjorn@list.example"),
    ("Çiğdem", "Şahin", "cigdem@list.example"),
)
WESTERN = (PEOPLE[0], PEOPLE[1], ("Chloé", "Lefèvre", "chloe@list.example"))
EVERYBODY = tuple(address for _, _, address in PEOPLE)


@dataclass(frozen=True)
class Export:
    """`column` is that of the addresses, as it is said; `out` are those who are left out by their own row, `unusable` the values
    that are no addresses. `refused` is what is said instead. `encoding` and `email_column` are what a person chooses."""

    octets: bytes
    column: str = ""
    people: Sequence[str] = EVERYBODY
    out: Sequence[str] = ()
    unusable: Sequence[str] = ()
    remarks: Sequence[str] = ()
    refused: str = ""
    encoding: str = "utf-8"
    email_column: str | None = None
    fields: dict[str, str] = field(default_factory=dict)  # some of the first person's


def csv_of(
    headings: str,
    *rows: Sequence[str],
    delimiter: str = ",",
    encoding: str = "utf-8",
    quoting: int = csv.QUOTE_MINIMAL,
    ending: str = "\r\n",
) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=ending, quoting=quoting)
    writer.writerows([headings.split(","), *rows])
    return text.getvalue().encode(encoding)


def table(headings: str, row: str, people: Sequence[tuple[str, str, str]] = PEOPLE, **how: object) -> bytes:
    """A row for each of the people: `{first}`, `{last}` and `{email}` become theirs."""
    rows = [[cell.format(first=first, last=last, email=email) for cell in row.split(",")] for first, last, email in people]
    return csv_of(headings, *rows, **how)  # type: ignore[arg-type]


OUTLOOK_FR = "Prénom,Nom,Société,Adresse de messagerie,Type de messagerie,Nom complet de l'adresse de messagerie"
OUTLOOK_ES = (
    "Nombre,Apellidos,Dirección de correo electrónico,Tipo de correo electrónico,Nombre para mostrar del correo electrónico"
)
MAILCHIMP = "Email Address,First Name,Last Name,Address,MEMBER_RATING,OPTIN_TIME,CONFIRM_TIME,LAST_CHANGED,TAGS"
CIVICRM = "Contact ID,Display Name,Do Not Email,Do Not Mail,No Bulk Emails (User Opt Out),Email,On Hold"
EXCEL_ROWS = [
    ["Vorname", "Nachname", "E-Mail", "Beitrag", "Eintritt"],
    *[[first, last, email, 12.5, date(2026, 7, 4)] for first, last, email in PEOPLE],
]
IN_SHEETS = {"Vorname": "Ann", "Beitrag": "12.5", "Eintritt": "2026-07-04"}
WESTERN_EVERYBODY = tuple(address for _, _, address in WESTERN)

EXPORTS: dict[str, Export] = {
    "Google Contacts": Export(
        table(
            "First Name,Middle Name,Last Name,Labels,E-mail 1 - Label,E-mail 1 - Value,E-mail 2 - Value,Phone 1 - Value",
            "{first},,{last},* myContacts,* Home,{email},,+47 22 00 00 00",
            ending="\n",
        ),
        "E-mail 1 - Value",
        fields={"First Name": "Ann", "Phone 1 - Value": "+47 22 00 00 00"},
    ),
    "Google Contacts, some without an address, some with several in a cell": Export(
        csv_of(
            "First Name,E-mail 1 - Label,E-mail 1 - Value,E-mail 2 - Label,E-mail 2 - Value",
            ["Ann", "* Home", "ann@list.example ::: ann@work.example", "Other", "office@work.example"],
            ["Nobody", "", "", "", ""],
            ["Bob", "*", "bob@list.example", "", ""],
        ),
        "E-mail 1 - Value",
        ["ann@list.example", "bob@list.example"],
        unusable=[""],
        remarks=['"E-mail 2 - Value" too', "of which the first address is taken: row 2."],
    ),
    "Google Contacts, as it was before": Export(
        table(
            "Name,Given Name,Family Name,Group Membership,E-mail 1 - Type,E-mail 1 - Value",
            "{first} {last},{first},{last},,*,{email}",
        ),
        "E-mail 1 - Value",
    ),
    "Outlook, English": Export(
        table(
            "First Name,Last Name,E-mail Address,E-mail 2 Address,E-mail 3 Address,Business Phone",
            "{first},{last},{email},,,",
            ending="\r\n",
        ),
        "E-mail Address",
    ),
    "Outlook, English, second addresses": Export(
        table(
            "First Name,E-mail Address,E-mail Type,E-mail Display Name,E-mail 2 Address", "{first},{email},SMTP,{email},x{email}"
        ),
        "E-mail Address",
        remarks=['"E-mail 2 Address" too'],
    ),
    "Outlook, German": Export(
        table(
            "Anrede,Vorname,Nachname,E-Mail-Adresse,E-Mail-Typ,E-Mail: Angezeigter Name,E-Mail 2: Adresse",
            ",{first},{last},{email},SMTP,{first} {last} ({email}),",
            WESTERN,
            encoding="cp1252",
        ),
        "E-Mail-Adresse",
        WESTERN_EVERYBODY,
        encoding="cp1252",
        fields={"Vorname": "Ann"},
    ),
    "Outlook, German, its encoding not named": Export(
        table("Anrede,Vorname,Nachname,E-Mail-Adresse", ",{first},{last},{email}", WESTERN, encoding="cp1252"),
        refused="If that text looks right, the file is Windows-1252",
    ),
    "Outlook, French": Export(
        table(OUTLOOK_FR, "{first},{last},,{email},SMTP,{first} {last} ({email})", WESTERN, encoding="cp1252"),
        "Adresse de messagerie",
        WESTERN_EVERYBODY,
        encoding="cp1252",
    ),
    "Outlook, Spanish": Export(
        table(OUTLOOK_ES, "{first},{last},{email},SMTP,{email}", encoding="utf-8-sig"), "Dirección de correo electrónico"
    ),
    "Thunderbird": Export(
        table(
            "First Name,Last Name,Display Name,Nickname,Primary Email,Secondary Email,Screen Name,Work Phone,Notes",
            "{first},{last},{first} {last},,{email},2{email},,,",
            ending="\n",
        ),
        "Primary Email",
        remarks=['"Secondary Email" too'],
    ),
    "Thunderbird, German": Export(
        table(
            "Vorname,Nachname,Anzeigename,Primäre E-Mail-Adresse,Sekundäre E-Mail-Adresse,Notizen",
            "{first},{last},{first} {last},{email},,",
        ),
        "Primäre E-Mail-Adresse",
    ),
    "Thunderbird, LDIF": Export(
        b"dn: cn=Ann Lee,mail=ann@list.example\nobjectclass: top\nmail: ann@list.example\n\n",
        refused="The file is an LDIF file. Export the list as CSV.",
    ),
    "Apple Contacts": Export(
        b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Ann Lee\r\nEMAIL;type=HOME:ann@list.example\r\nEND:VCARD\r\n",
        refused="The file is a file of contacts (vCard). Export the list as CSV.",
    ),
    "Apple Numbers, as CSV": Export(
        csv_of("Mitglieder,,", ["Name", "E-Mail", ""], *[[first, email, ""] for first, _, email in PEOPLE], delimiter=";"),
        "E-Mail",
        remarks=['Row 1 stands above the headings and is passed over: "Mitglieder".'],
    ),
    "Apple Numbers": Export(
        packed({"Index/Document.iwa": "x", "Metadata/Properties.plist": "x"}),
        refused="a damaged workbook (xlsx, xls, ods), or none but packed like one",
    ),
    "Mailchimp, subscribed": Export(
        table(
            MAILCHIMP,
            '{email},{first},{last},1 Main Street  Oslo,2,2026-01-02 10:00:00,2026-01-02 10:00:00,2026-03-04 11:00:00,"VIP"',
        ),
        "Email Address",
    ),
    "Mailchimp, all of the audience": Export(
        csv_of(
            "Email Address,First Name,Status",
            ["ann@list.example", "Ann", "Subscribed"],
            ["bob@list.example", "Bob", "Unsubscribed"],
            ["cleo@list.example", "Cleo", "Cleaned"],
            ["dan@list.example", "Dan", "Non-Subscribed"],
        ),
        "Email Address",
        ["ann@list.example"],
        ["bob@list.example", "cleo@list.example", "dan@list.example"],
    ),
    "Mailchimp, unsubscribed": Export(
        table(
            "Email Address,First Name,UNSUB_TIME,UNSUB_CAMPAIGN_TITLE,UNSUB_REASON",
            "{email},{first},2026-02-03 12:00:00,Spring,NORMAL (The subscriber no longer wants it)",
        ),
        "Email Address",
        (),
        EVERYBODY,
    ),
    "Mailchimp, cleaned": Export(
        table("Email Address,First Name,CLEAN_TIME,CLEAN_CAMPAIGN_TITLE", "{email},{first},2026-02-03 12:00:00,Spring"),
        "Email Address",
        (),
        EVERYBODY,
    ),
    "HubSpot": Export(
        csv_of(
            "Record ID,First Name,Last Name,Email,Contact owner,Lead Status,Marketing contact status,Unsubscribed from all email,"
            "Email hard bounce reason",
            ["1", "Ann", "Lee", "ann@list.example", "owner@club.example", "OPEN", "Marketing contact", "false", ""],
            ["2", "Bob", "Ray", "bob@list.example", "owner@club.example", "", "Marketing contact", "true", ""],
            ["3", "Cleo", "Orr", "cleo@list.example", "owner@club.example", "", "", "", "UNKNOWN_USER"],
            quoting=csv.QUOTE_ALL,
        ),
        "Email",
        ["ann@list.example"],
        ["bob@list.example", "cleo@list.example"],
        remarks=['"Contact owner" too'],
    ),
    "Salesforce, a report": Export(
        csv_of(
            "First Name,Last Name,Email,Email Opt Out",
            ["Ann", "Lee", "ann@list.example", "0"],
            ["Bob", "Ray", "bob@list.example", "1"],
            [""],
            [""],
            ["Contacts by name"],
            ["Copyright (c) 2000-2026 The vendor. All rights reserved."],
            quoting=csv.QUOTE_ALL,
        ),
        "Email",
        ["ann@list.example"],
        ["bob@list.example"],
        unusable=["", ""],
        remarks=["Fewer cells than there are headings, and what is missing is blank: row 6 and 1 more."],
    ),
    "Salesforce, the data loader": Export(
        table(
            "ID,FIRSTNAME,LASTNAME,EMAIL,HASOPTEDOUTOFEMAIL,CREATEDDATE",
            "0038000,{first},{last},{email},false,2026-01-02T10:00:00.000Z",
            quoting=csv.QUOTE_ALL,
        ),
        "EMAIL",
    ),
    "WordPress": Export(
        table(
            "user_login,user_email,display_name,role,user_registered",
            "{first},{email},{first} {last},subscriber,2026-01-02 10:00:00",
        ),
        "user_email",
    ),
    "WooCommerce": Export(
        table(
            "Name,Username,Last Active,Email,Orders,Total Spend,Country / Region",
            "{first} {last},{first},2026-01-02,{email},3,120.5,NO",
        ),
        "Email",
    ),
    "WordPress, orders": Export(
        table("Order Number,Billing First Name,Billing Email,Shipping Email", "17,{first},{email},{email}"), "Billing Email"
    ),
    "CiviCRM": Export(
        csv_of(
            CIVICRM,
            ["1", "Ann Lee", "", "1", "", "ann@list.example", "No"],
            ["2", "Bob", "Yes", "", "", "bob@list.example", "No"],
            ["3", "Cleo", "", "", "1", "cleo@list.example", "No"],
            ["4", "Dan", "", "", "", "dan@list.example", "On Hold Bounce"],
        ),
        "Email",
        ["ann@list.example"],
        ["bob@list.example", "cleo@list.example", "dan@list.example"],
    ),
    "listmonk": Export(
        csv_of(
            "uuid,email,name,attributes,status",
            ["u1", "ann@list.example", "Ann", '{"city": "Oslo"}', "enabled"],
            ["u2", "bob@list.example", "Bob", "{}", "blocklisted"],
        ),
        "email",
        ["ann@list.example"],
        ["bob@list.example"],
    ),
    "Stripe, customers": Export(
        table("id,Description,Email,Name,Created (UTC)", "cus_1,,{email},{first},2026-01-02 10:00"), "Email"
    ),
    "Google Forms": Export(
        table("Zeitstempel,Deine E-Mail (z. B. name@club.example),Name", "04.07.2026 10:00:00,{email},{first}"),
        "Deine E-Mail (z. B. name@club.example)",
    ),
    "PayPal, where the second address is one's own": Export(
        table("Date,Name,From Email Address,To Email Address", "04/07/2026,{first},{email},shop@club.example"),
        "From Email Address",
        remarks=['"To Email Address" too'],
    ),
    "Excel, German, semicolons, Windows-1252": Export(
        table("Vorname,Nachname,E-Mail", "{first},{last},{email}", WESTERN, delimiter=";", encoding="cp1252"),
        "E-Mail",
        WESTERN_EVERYBODY,
        encoding="cp1252",
        fields={"Vorname": "Ann"},
    ),
    "Excel, French, semicolons, UTF-8 with its mark": Export(
        table("Prénom,Nom,Courriel,,", "{first},{last},{email},,", delimiter=";", encoding="utf-8-sig"), "Courriel"
    ),
    "Excel, Unicode text": Export(
        table("First name,Last name,E-mail", "{first},{last},{email}", delimiter="\t", encoding="utf-16"), "E-mail"
    ),
    "Excel, Polish, tabs, Windows-1250": Export(
        table("Imię,Adres e-mail", "{first},{email}", [("Żaneta", "", "zaneta@list.example")], delimiter="\t", encoding="cp1250"),
        "Adres e-mail",
        ["zaneta@list.example"],
        encoding="cp1250",
        fields={"Imię": "Żaneta"},
    ),
    "Excel, with the separator named": Export(b"sep=;\r\n" + table("Name,E-Mail", "{first},{email}", delimiter=";"), "E-Mail"),
    "Excel, xlsx": Export(xlsx({"Tabelle1": EXCEL_ROWS}), "E-Mail", fields=IN_SHEETS),
    "Excel, xlsx with a title, a hidden sheet, a sheet of notes and an empty column": Export(
        xlsx(
            {
                "Alt": [["email"], ["old@list.example"]],
                "Notizen": [["Nur für den Vorstand"]],
                "Mitglieder": [
                    ["Mitglieder 2026"],
                    [],
                    ["Name", None, "E-Mail"],
                    *[[first, None, email] for first, _, email in PEOPLE],
                ],
            },
            hidden=["Alt"],
        ),
        "E-Mail",
        remarks=['"Mitglieder" is read, and not "Notizen".', "Row 1 stands above the headings"],
    ),
    "Excel 97, xls": Export(
        xls("Members", [["Name", "Email", "Member"], *[[first, email, 7] for first, _, email in PEOPLE]]),
        "Email",
        fields={"Member": "7"},
    ),
    "LibreOffice, ods": Export(ods({"Mitglieder": EXCEL_ROWS}), "E-Mail", fields=IN_SHEETS),
    "LibreOffice, all quoted": Export(
        table("Name;E-Mail".replace(";", ","), "{first},{email}", quoting=csv.QUOTE_ALL, ending="\n"), "E-Mail"
    ),
    "a spreadsheet without headings": Export(
        csv_of("Ann,ann@list.example,Oslo", ["Bob", "bob@list.example", ""]),
        "column_2",
        ["ann@list.example", "bob@list.example"],
        remarks=["The list has no headings: row 1 is a recipient like the others"],
        fields={"column_1": "Ann", "column_3": "Oslo"},
    ),
    "a school, mothers and fathers": Export(
        table("Kind,Mutter,Vater", "{first},m{email},v{email}"), refused='Addresses stand in "Mutter", "Vater". Choose the column'
    ),
    "a school, mothers chosen": Export(
        table("Kind,Mutter,Vater", "{first},{email},v{email}"), "Mutter", email_column="mutter", remarks=['"Vater" too']
    ),
    "a text of addresses": Export(
        b'Ann Lee <ann@list.example>\n"Ray, Bob" <bob@list.example>\n',
        "",
        ["ann@list.example", "bob@list.example"],
        fields={"name": "Ann Lee"},
    ),
    "a web page that is named .xls": Export(
        b"<html><body><table><tr><td>email</td></tr></table></body></html>",
        refused="a web page, even where its name ends in .xls",
    ),
    "a PDF": Export(b"%PDF-1.7\n", refused="The file is a PDF. Export the list as CSV."),
    "a list of telephone numbers": Export(csv_of("Name,Phone", ["Ann", "22 00 00 00"]), refused="No column holds the addresses"),
}
