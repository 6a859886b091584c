"""A table's headings and addresses are found as people have them, what is odd is remarked, and what is uncertain is refused."""

from __future__ import annotations

import time
import unicodedata

import pytest

from postroom.domain.audience import COLUMNS_MAX, ROW_BYTES_MAX, IncomingRow, Remarks, Unreadable
from postroom.domain.table import AS_FOUND, Choices, address_in, read_table


def read(*rows: list[str], choices: Choices = AS_FOUND) -> tuple[list[IncomingRow], tuple[str, ...]]:
    remarks = Remarks()
    return list(read_table(enumerate(rows, 1), choices, remarks)), remarks.told()


def refusal(*rows: list[str], choices: Choices = AS_FOUND) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        read(*rows, choices=choices)
    return caught.value


def addresses(*rows: list[str], choices: Choices = AS_FOUND) -> list[str]:
    return [row.address for row in read(*rows, choices=choices)[0]]


# -- the column of the addresses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("heading", ["email", "E-Mail", "Email Address", "e_mail_address", "E-Mail-Adresse", "Primary Email"])
def test_a_heading_that_means_nothing_else_is_enough(heading: str) -> None:
    rows, told = read(["invited by", heading], ["boss@list.example", "nobody"], ["chef@list.example", ""])
    assert [row.address for row in rows] == ["nobody", ""]
    assert told == (
        f'The addresses are those of the column "{heading}". Addresses stand in "invited by" too; nobody is mailed there.',
    )


@pytest.mark.parametrize("heading", ["E-mail 1 - Value", "user_email", "Courriel", "Correo", "Почта", "メール", "x"])
def test_else_the_column_that_holds_addresses_is_it_whatever_it_is_called(heading: str) -> None:
    rows, told = read(["name", heading], ["Ann", ""], ["Bob", "bob@list.example"])
    assert rows[1] == IncomingRow(3, "bob@list.example", {"name": "Bob"})
    assert told == (f'The addresses are those of the column "{heading}", found by what stands in it.',)


def test_an_address_that_is_a_street_is_none() -> None:
    assert addresses(["Address", "Contact"], ["1 Main Street", "ann@list.example"]) == ["ann@list.example"]
    assert addresses(["Address"], ["1 Main Street"]) == ["1 Main Street"], "where there is nothing else, each row is told why not"


def test_of_two_columns_that_could_be_meant_none_is_guessed() -> None:
    error = refusal(["mother", "father"], ["a@list.example", "b@list.example"])
    assert str(error) == (
        'Addresses stand in "mother", "father". Choose the column that is meant (email_column, --email-column).'
    )
    assert (error.row, error.column) == (1, "mother")


def test_an_empty_column_of_the_right_name_is_no_reason_to_mail_another() -> None:
    error = refusal(["email", "their boss"], ["", "boss@list.example"])
    assert str(error).startswith('The column "email" is empty, and addresses stand in "their boss". Choose the column')


def test_a_column_of_yes_and_no_that_is_called_email_asks_whether_somebody_wants_it() -> None:
    rows, told = read(["Name", "Email", "Kontakt"], ["A", "ja", "a@list.example"], ["B", "nein", "b@list.example"])
    assert [(row.address, bool(row.opted_out)) for row in rows] == [("a@list.example", False), ("b@list.example", True)]
    assert told[0] == 'The addresses are those of the column "Kontakt", found by what stands in it.'


@pytest.mark.parametrize("other", ["e-mail 2", "E-Mail: 2"])
def test_the_second_address_of_the_same_people_is_a_field(other: str) -> None:
    (row,), told = read(["e-mail 1", other], ["a@list.example", "b@list.example"])
    assert (row.address, row.fields) == ("a@list.example", {other: "b@list.example"})
    assert f'"{other}" too' in told[0]


def test_few_addresses_in_another_column_are_no_rival() -> None:
    assert (
        addresses(["member", "agent"], *[[f"p{n}@list.example", "office@list.example"] for n in range(9)])[0] == "p0@list.example"
    )


@pytest.mark.parametrize("chosen", ["Father", " father "])
def test_a_chosen_column_is_it(chosen: str) -> None:
    rows, told = read(["email", "Father"], ["a@list.example", "b@list.example"], choices=Choices(chosen))
    assert [row.address for row in rows] == ["b@list.example"]
    assert told[0].startswith('The addresses are those of the column "Father", as was chosen.')


def test_a_chosen_column_that_is_not_there_is_refused_with_those_that_are() -> None:
    assert (
        str(refusal(["email", "Father"], choices=Choices("Vater"))) == 'No column is called "Vater"; there are "email", "Father".'
    )


def test_addresses_below_no_heading_are_refused_with_what_to_do() -> None:
    assert str(refusal(["name", "", "city"], ["Ann", "a@list.example", "Oslo"])) == (
        'Column 2 holds the addresses and has no heading. Call it "email".'
    )


@pytest.mark.parametrize(
    ("cell", "address"),
    [
        ("ann@list.example", "ann@list.example"),
        (" ann@list.example ", "ann@list.example"),
        ("Ann Lee <ann@list.example>", "ann@list.example"),
        ('"Lee, Ann" <ann@list.example>', "ann@list.example"),
        ("mailto:ann@list.example", "ann@list.example"),
        ("ann@list.example ::: ann@work.example", "ann@list.example"),
        ("ann@list.example, bob@list.example", None),
        ("ann@localhost", None),
        ("ann at list.example", None),
        ("", None),
        ("ask office@list.example", None),
        ("<a@list.example> <b@list.example>", None),
    ],
)
def test_an_address_is_found_beside_what_programs_put_there_and_never_guessed(cell: str, address: str | None) -> None:
    assert address_in(cell) == address


def test_what_stood_beside_an_address_is_remarked() -> None:
    rows, told = read(["email"], ["Ann <ann@list.example>"], ["bob@list.example"], ["Cleo <cleo@list.example>"])
    assert [row.address for row in rows] == ["ann@list.example", "bob@list.example", "cleo@list.example"]
    assert told[-1] == "More than one address alone in its cell, of which the first address is taken: row 2 and 1 more."


# -- headings -----------------------------------------------------------------------------------------------------------


def test_without_headings_the_first_row_is_a_recipient_and_that_is_said() -> None:
    rows, told = read(["Ann", "ann@list.example"], ["Bob", "bob@list.example"])
    assert rows == [
        IncomingRow(1, "ann@list.example", {"column_1": "Ann"}),
        IncomingRow(2, "bob@list.example", {"column_1": "Bob"}),
    ]
    assert told[0] == (
        'The list has no headings: row 1 is a recipient like the others, and the fields are called "column_1", '
        '"column_2". To name them, put a row above the first.'
    )


def test_a_heading_that_mentions_an_address_is_one() -> None:
    assert addresses(["Your e-mail (such as you@list.example)"], ["ann@list.example"]) == ["ann@list.example"]


def test_a_title_above_the_headings_is_passed_over_and_said() -> None:
    rows, told = read(["Members 2026", ""], ["name", "email"], ["Ann", "ann@list.example"])
    assert rows == [IncomingRow(3, "ann@list.example", {"name": "Ann"})]
    assert told[0] == 'Row 1 stands above the headings and is passed over: "Members 2026".'


def test_titles_may_hold_addresses_and_are_no_recipients() -> None:
    rows, told = read(
        ["ask office@club.example", "", ""],
        ["by", "Ann <ann@club.example>", ""],
        ["name", "", "contact"],
        ["Bob", "", "bob@list.example"],
    )
    assert rows == [IncomingRow(4, "bob@list.example", {"name": "Bob"})]
    assert told[:2] == (
        'Row 1 stands above the headings and is passed over: "ask office@club.example".',
        'Row 2 stands above the headings and is passed over: "by, Ann <ann@club.example>".',
    )


def test_a_first_recipient_is_no_title_whatever_follows() -> None:
    assert addresses(["ann@list.example", ""], ["none", "Bob"], ["cleo@list.example", "Cleo"]) == [
        "ann@list.example",
        "none",
        "cleo@list.example",
    ]


def test_a_value_that_is_like_a_heading_makes_no_title_of_those_above() -> None:
    assert addresses(["Kontakt", "Name"], ["ann@list.example", "Ann"], ["E-Mail", "Bob"], ["cleo@list.example", "Cleo"]) == [
        "ann@list.example",
        "E-Mail",
        "cleo@list.example",
    ]
    assert addresses(["By Ann <ann@club.example>", ""], ["Email", "Name"], ["bob@list.example", "Bob"]) == ["bob@list.example"]
    assert addresses(["Report", "2026-11-30"], ["Name", "Email"], ["Bob", "bob@list.example"]) == ["bob@list.example"]


@pytest.mark.parametrize("cell", ["a@" + "." * 20_000 + " x", "a" * 20_000, "a@b." * 5_000, "a@" + "+." * 9_000 + ";"])
def test_a_cell_that_is_no_address_is_known_in_no_time(cell: str) -> None:
    begins = time.process_time()
    assert address_in(cell) is None
    assert time.process_time() - begins < 0.2


def test_headings_that_are_all_the_same_are_counted_before_they_are_told_apart() -> None:
    begins = time.process_time()
    assert "32,000 columns" in str(refusal(["a"] * 32_000, ["a@list.example"]))
    assert time.process_time() - begins < 1


def test_headings_that_stand_there_twice_get_names_of_their_own() -> None:
    rows, told = read(["email", "Phone", "phone", "Phone"], ["ann@list.example", "1", "2", "3"])
    assert rows[0].fields == {"Phone": "1", "phone (2)": "2", "Phone (3)": "3"}
    assert told[0] == (
        'Some headings stand there more than once; the fields of the later ones are called "phone (2)", "Phone (3)".'
    )


def test_a_column_without_a_heading_is_nothing_while_it_is_empty_and_remarked_when_it_is_not() -> None:
    rows, told = read(
        ["email", "", "name", "", ""], ["a@list.example", "", "Ann", "", ""], ["b@list.example", "x", "Bob", "", ""]
    )
    assert [row.fields for row in rows] == [{"name": "Ann"}, {"name": "Bob"}]
    assert told[1:] == ("Cells below no heading, which are in no field: row 3.",)
    assert len(read(["email", "", "name"], ["a@list.example", "", "Ann"])[1]) == 1


# -- rows ---------------------------------------------------------------------------------------------------------------


def test_cells_that_are_missing_at_the_end_of_a_row_are_blank_and_remarked() -> None:
    rows, told = read(
        ["email", "name", "city"], ["a@list.example"], ["b@list.example", "Bob"], ["c@list.example", "Cleo", "Oslo"]
    )
    assert [row.fields for row in rows] == [
        {"name": "", "city": ""},
        {"name": "Bob", "city": ""},
        {"name": "Cleo", "city": "Oslo"},
    ]
    assert told[1:] == ("Fewer cells than there are headings, and what is missing is blank: row 2 and 1 more.",)


def test_surplus_cells_that_are_empty_are_nothing_and_others_are_refused() -> None:
    assert addresses(["email"], ["a@list.example", "", " "]) == ["a@list.example"]
    assert str(refusal(["email"], ["a@list.example", "", "x"])).startswith("Row 2 has 3 cells, but there are headings for 1.")


def test_rows_that_hold_nothing_are_passed_over_and_counted() -> None:
    assert [row.row_no for row in read(["", " "], ["email"], ["\xa0", ""], ["a@list.example"])[0]] == [4]


def test_the_bounds_hold_for_every_table() -> None:
    assert f"at most {COLUMNS_MAX:,}" in str(refusal(["email", *[f"c{n}" for n in range(COLUMNS_MAX)]], ["a@list.example"]))
    assert addresses(["email", *[""] * 16_000], ["a@list.example"]) == ["a@list.example"]
    assert "64 KiB" in str(refusal(["email", "a", "b"], ["a@list.example", *["x" * (ROW_BYTES_MAX // 2)] * 2]))


# -- what a row says of itself ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heading", "out", "kept"),
    [
        (
            "Status",
            ["unsubscribed", "Bounced", "CLEANED", "hard_bounce", "Opted-Out", "blocklisted"],
            ["subscribed", "active", "", "VIP"],
        ),
        ("Consent", ["UNSUBSCRIBED", "NEVER_SUBSCRIBED"], ["SUBSCRIBED"]),
        ("Statut", ["désabonné"], ["abonné"]),
        ("Zustand", ["abgemeldet"], ["angemeldet"]),
        ("anything", ["unsubscribed"], ["x"]),
        ("Email Opt Out", ["1", "true", "Yes"], ["0", "false", "no", ""]),
        ("HasOptedOutOfEmail", ["true"], ["false"]),
        ("Do Not Email", ["Yes"], ["No", ""]),
        ("Do Not Mail", [], ["Yes"]),
        ("On Hold", ["On Hold Bounce", "1"], ["No"]),
        ("UNSUB_TIME", ["2026-01-02 10:00:00", "2/1/2026"], ["", "0000-00-00 00:00:00"]),
        ("Email hard bounce reason", ["UNKNOWN"], [""]),
        ("unsubscribe_url", [], ["https://list.example/u/1", ""]),
        ("Subscribed", ["no", "false"], ["yes"]),
        ("Accepts Email Marketing", ["no"], ["yes"]),
        ("Soft bounces", [], ["0", "3"]),
        ("name", [], ["Bounce Ltd", "Do", "Baja"]),
        ("Email opt in", ["No", "false"], ["Yes", "2024-01-05"]),
        ("subscribed_to_emails", ["No", "false", "0"], ["true"]),
        ("Unsubscribed", ["Jan 5, 2024", "2024/01/05", "05-01-2024", "1706745600", "5 January 2024", "20240105"], ["0"]),
        ("Unsubscribed", ["-1", "on", "checked", "✓", "unsubscribed on 2024-01-01"], ["off", "never", "☐", "-", "0.0"]),
        ("Unsubscribed At", ["2024-01-05T10:00:00Z"], ["0001-01-01T00:00:00", "null"]),
        ("Marketing consent", ["No", "nein", "0", "false", "denied", "withdrawn", "✗"], ["given", "true", "☑"]),
        ("Opt-in", ["nein", "0", "none"], ["ja", "double opt-in"]),
        ("Newsletter", ["false", "No", "keine"], ["x", "Ja", "2"]),
        ("Newsletter abbestellt", ["ja", "3.4.2024"], ["nein", ""]),
        ("OPTIN_TIME", ["no"], ["2024-01-05 10:00", "", "0000-00-00"]),
        ("Do not allow Emails", ["Do Not Allow", "Yes"], ["Allow", "No"]),
        ("IsExcludedFromCampaigns", ["true", "1"], ["false"]),
        ("email_disabled", ["true", "1"], ["false", "0"]),
        ("On Hold", ["2"], ["0", ""]),
        ("Email Marketing Consent", ["['UNSUBSCRIBE']"], ["['SUBSCRIBED']"]),
        (
            "Status",
            ["abbestellt", "Désabonné(e)", "Baja", "Unsubscribed (by admin)", "Hardbounce", "Soft bounce", "UNSUB"],
            ["Norway", "enabled", "prospect"],
        ),
        ("Status", ["Unsubscribed / bounced"], ["Bouncer"]),
        ("Status", ["Deleted", "Do not mail", "No longer subscribed", "de\u0301sabonne\u0301"], ["Do not contact by phone"]),
        ("Désabonné", ["oui"], ["non"]),
        ("SMS Opt Out", [], ["1", "true", "unsubscribed"]),
        ("SMSOptOut", [], ["1"]),
        ("Do not allow Phone Calls", [], ["Yes"]),
        ("Unsubscribe reason", ["too many"], ["NULL", "N/A", "-", "none", ""]),
        ("Unsubscribed from all email (and SMS)", ["true"], ["false"]),
        ("active_subscription_id", [], ["false"]),
    ],
)
def test_who_is_out_by_what_their_own_row_says_is_told_from_who_is_not(heading: str, out: list[str], kept: list[str]) -> None:
    spelt = unicodedata.normalize("NFD", heading)
    rows, told = read(["email", spelt], *[[f"p{n}@list.example", says] for n, says in enumerate(out + kept)])
    assert [row.fields[heading] for row in rows if row.opted_out] == out
    assert len(told) == (2 if out else 1)
    if out:
        assert rows[0].opted_out == f'Row 2 of the list says "{out[0]}" in the column "{heading}".'
        assert told[1].startswith(f'Not to be mailed by what their own row says in the column "{heading}", and left out: row 2')


def test_a_word_that_comes_late_is_heeded_where_the_heading_says_status() -> None:
    rows, _ = read(["email", "State", "x"], *[["a@list.example", "ok" * 50, ""]] * 9_999, ["b@list.example", "unsubscribed", ""])
    assert [row.row_no for row in rows if row.opted_out] == [10_001]


@pytest.mark.parametrize(
    ("heading", "says"), [("Newsletter", "sometimes"), ("Newsletter", ""), ("Consent", "?"), ("Subscription status", "Ceased")]
)
def test_what_looks_like_an_answer_and_is_none_is_mailed_and_remarked(heading: str, says: str) -> None:
    rows, told = read(["email", heading], ["a@list.example", "yes"], ["b@list.example", says])
    assert not any(row.opted_out for row in rows)
    assert told[1:] == (f'Neither a yes nor a no in the column "{heading}", and mailed: row 3.',)


def test_by_choice_they_are_mailed_all_the_same_and_that_is_remarked() -> None:
    rows, told = read(["email", "Status"], ["a@list.example", "unsubscribed"], choices=Choices(opted_out_rows="send"))
    assert [row.opted_out for row in rows] == [""]
    assert told[1] == (
        'Not to be mailed by what their own row says in the column "Status", and mailed all the same, as was chosen: row 2.'
    )
