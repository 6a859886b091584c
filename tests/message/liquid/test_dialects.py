"""What is advised says the same here, or it is said that the tag goes out; nothing false is advised."""

import pytest

from postroom.errors import InvalidInput
from postroom.message.content import Content
from postroom.message.liquid import foreign, template
from postroom.message.liquid.dialects import column_of, is_usual


def instead(tag: str, *columns: str) -> str:
    [found] = foreign.found({"html": f"<p>{tag}</p>"})
    return found.told(columns).partition("goes out as it is: ")[2]


@pytest.mark.parametrize(
    ("tag", "advice"),
    [
        ("*|LIST:ADDRESS|*", "write {{ account.postal_address }}."),
        ("*|HTML:LIST_ADDRESS_HTML|*", "write {{ account.postal_address }}."),
        ("{domain.address}", "write {{ account.postal_address }}."),
        ("*|LIST:COMPANY|*", "write {{ account.name }}."),
        ("[Sender_Name]", "write {{ account.name }}."),
        ("*|DATE:d/m/Y|*", 'write {{ "now" | date: "%Y-%m-%d" }}, in the form that you want.'),
        ("*|CURRENT_YEAR|*", 'write {{ "now" | date: "%Y" }}.'),
        ("*|TITLE:LNAME|*", "write {{ LNAME }}, by the name of its column."),
        ("*|IFNOT:LNAME|*", "write a condition, {% if … %} … {% endif %}."),
        ("[[surname|friend]]", 'write {{ surname | default: "friend" }}, by the name of its column.'),
        ("[Shoe size,fallback=large]", 'write {{ fields["Shoe size"] | default: "large" }}, by the name of its column.'),
        ('[[data:surname:"friend"]]', 'write {{ surname | default: "friend" }}, by the name of its column.'),
        ("&lt;%=&nbsp;surname&nbsp;%&gt;", "write {{ surname }}, by the name of its column."),
        ("%%=ProperCase(@surname)=%%", "write {{ surname }}, by the name of its column."),
        ("{E-Mail-Adresse}", "write {{ email }}."),
        ("%recipient_email%", "write {{ email }}."),
        ("{Abmeldelink}", "write {{ unsubscribe_url }}, the address of a link."),
    ],
)
def test_what_says_the_same_here_is_advised(tag: str, advice: str) -> None:
    assert instead(tag) == advice


@pytest.mark.parametrize(
    "tag",
    ["%%[ SET @a = 1 ]%%", "%%=Iif(@a == 1, 2, 3)=%%", "*|MC:SUBJECT|*", "*|ARCHIVE|*", "*|POLL:RATING|*", "*|SHARE:Facebook|*",
     "<webversion>", "{webview_url}", "{!$Account.Name}", "{ownerfield=phone}", "[newsletter:number]", "<%@ include view='x' %>"],
)
def test_where_nothing_is_certain_it_is_said_that_recipients_would_read_the_tag(tag: str) -> None:
    assert instead(tag) == "recipients would read it as it stands."


def test_a_column_of_the_list_is_advised_as_it_is_spelt_there() -> None:
    assert instead("*|FIRST_NAME|*", "email", "First name") == 'write {{ fields["First name"] }}.'
    assert instead("{Contact.City}", "city") == "write {{ city }}."
    assert instead("%%now%%", "now") == 'write {{ fields["now"] }}.'
    assert column_of("x", ["X"]) == "", "one letter is no name"


@pytest.mark.parametrize("name", ["Name", "first_name", "FirstName", "LNAME", "Ihr Name", "member_id", "prénom", "contact.x"])
def test_the_usual_names_of_fields_are_known(name: str) -> None:
    assert is_usual(name)


@pytest.mark.parametrize("name", ["see above", "contact us", "id", "link", "name withheld", "date", "12", "", "Abmeldefrist"])
def test_other_words_are_no_usual_names(name: str) -> None:
    assert not is_usual(name)


@pytest.mark.parametrize(
    ("source", "written"),
    [
        ("{{{Recipient.LastName}}}", "write {{ LastName }}"),
        ("{{=surname}}", "write {{ surname }}"),
        ("{{ &surname }}", "write {{ surname }}"),
        ("{{ .Subscriber.Name }}", "write {{ Name }}"),
        ('{{var:surname:"friend"}}', 'write {{ surname | default: "friend" }}'),
        ("{{ person|lookup:'Shoe size' }}", 'write {{ fields["Shoe size"] }}'),
        ("{{#if surname}}x{{/if}}", "write {% if surname %} … {% endif %}"),
        ("{{^surname}}x{{/surname}}", "write {% unless surname %} … {% endunless %}"),
        ("x{{/if}}", "write {% endif %}"),
        ("{% unsubscribe %}", "write {{ unsubscribe_url }}"),
        ("{% unsubscribe 'Leave' %}", "write {{ unsubscribe_url }}"),
        ("{%surname%}", "write {{ surname }}"),
    ],
)
def test_a_fault_of_another_systems_liquid_says_what_to_write(source: str, written: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        template.check(Content("s", f"<p>{source}</p>", None, "a@club.example"))
    assert written in refused.value.faults[0].message
