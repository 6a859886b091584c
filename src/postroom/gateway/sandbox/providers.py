"""What providers say when they refuse, as their documentation and their users tell it, by a name of ours.

Whom each is about is what a sender has to find out. "us": the sender, its login, its network, its limits; nobody is failed, and
all are sent when it is over. "pace": it wants less of us for now, or says so. "them": this recipient, who fails. "message": what
everybody was to get; the job is failed. Said to everybody, every time, as happens where it is about us.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from postroom.errors import InvalidInput
from postroom.gateway.sandbox.script import Answer, Script


class Refusal(NamedTuple):
    """`phase` is one of a script's."""

    phase: str
    reply: str
    about: Literal["us", "pace", "them", "message"]


REFUSALS: Final[dict[str, Refusal]] = {
    # Gmail and Google Workspace
    "gmail-daily-limit": Refusal("mail", "550 5.4.5 Daily user sending limit exceeded. For more information on Gmail sending "
                                         "limits go to https://support.google.com/a/answer/166852", "us"),
    "gmail-daily-limit-at-rcpt": Refusal("rcpt", "550 5.4.5 Daily user sending limit exceeded", "us"),
    "gmail-daily-limit-of-old": Refusal("rcpt", "552 5.4.5 Daily sending quota exceeded", "us"),
    "gmail-relay-daily-limit": Refusal("rcpt", "550 5.7.1 Daily SMTP relay limit exceeded for customer.", "us"),
    "gmail-credentials": Refusal("auth", "535 5.7.8 Username and Password not accepted", "us"),
    "gmail-application-password": Refusal("auth", "534 5.7.9 Application-specific password required", "us"),
    "gmail-login-needed": Refusal("mail", "530 5.7.0 Authentication Required", "us"),
    "gmail-unsolicited-rate": Refusal("dot", "421 4.7.28 Gmail has detected an unusual rate of unsolicited mail", "pace"),
    "gmail-no-ptr": Refusal("dot", "550 5.7.25 The IP address sending this message does not have a PTR record setup", "us"),
    "gmail-unauthenticated": Refusal("dot", "550 5.7.26 This mail has been blocked because the sender is "
                                            "unauthenticated", "message"),
    "gmail-no-such-user": Refusal("rcpt", "550 5.1.1 The email account that you tried to reach does not exist", "them"),
    "gmail-disabled": Refusal("rcpt", "550 5.2.1 The email account that you tried to reach is disabled", "them"),
    "gmail-over-quota": Refusal("rcpt", "552 5.2.2 The recipient's inbox is out of storage space", "them"),
    # Microsoft 365 and Outlook.com
    "microsoft-daily-limit": Refusal("rcpt", "550 5.1.90 Your message can't be sent because you've reached your daily limit "
                                             "for message recipients", "us"),
    "microsoft-send-as": Refusal("dot", "554 5.2.252 SendAsDenied; club@club.example not allowed to send as "
                                        "news@club.example", "us"),
    "microsoft-not-authenticated": Refusal("mail", "530 5.7.57 Client not authenticated to send mail", "us"),
    "microsoft-no-right-to-sender": Refusal("dot", "550 5.7.60 SMTP; Client does not have permissions to send as this "
                                                   "sender", "us"),
    "microsoft-relay": Refusal("rcpt", "550 5.7.64 TenantAttribution; Relay Access Denied", "us"),
    "microsoft-access-denied": Refusal("mail", "550 5.7.501 Access denied, spam abuse detected", "us"),
    "microsoft-banned-sender": Refusal("rcpt", "550 5.7.511 Access denied, banned sender", "us"),
    "microsoft-banned-network": Refusal("mail", "550 5.7.606 Access denied, banned sending IP [192.0.2.1]", "us"),
    "microsoft-tenant-limit": Refusal("dot", "550 5.7.705 Access denied, tenant has exceeded threshold", "us"),
    "microsoft-network-not-accepted": Refusal("rcpt", "550 5.7.708 Service unavailable. Access denied, traffic not accepted "
                                                      "from this IP", "us"),
    "microsoft-unregistered-domain": Refusal("rcpt", "550 5.7.750 Service unavailable. Client blocked from sending from "
                                                     "unregistered domains", "us"),
    "microsoft-too-many-connections": Refusal("dot", "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", "pace"),
    "microsoft-throttled": Refusal("mail", "451 4.7.500 Server busy. Please try again later", "pace"),
    "microsoft-login": Refusal("auth", "535 5.7.3 Authentication unsuccessful", "us"),
    "microsoft-login-disabled": Refusal("auth", "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is "
                                                "disabled for the Tenant", "us"),
    "microsoft-no-such-user": Refusal("rcpt", "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found", "them"),
    "microsoft-unauthenticated": Refusal("dot", "550 5.7.515 Access denied, sending domain does not meet the required "
                                                "authentication level", "message"),
    # Amazon SES
    "ses-daily-quota": Refusal("dot", "454 Throttling failure: Daily message quota exceeded.", "pace"),
    "ses-rate": Refusal("dot", "454 Throttling failure: Maximum sending rate exceeded.", "pace"),
    "ses-not-verified": Refusal("dot", "554 Message rejected: Email address is not verified. The following identities failed "
                                       "the check in region EU-WEST-1: news@club.example", "message"),
    "ses-paused": Refusal("dot", "554 Message rejected: Sending paused for this account.", "message"),
    "ses-login": Refusal("auth", "535 Authentication Credentials Invalid", "us"),
    "ses-not-authorized": Refusal("dot", "554 Access denied: User is not authorized to perform ses:SendRawEmail", "message"),
    # Postfix, as it comes and as it is set up
    "postfix-relay": Refusal("rcpt", "554 5.7.1 <someone@list.example>: Relay access denied", "us"),
    "postfix-relay-for-now": Refusal("rcpt", "454 4.7.1 <someone@list.example>: Relay access denied", "pace"),
    "postfix-helo-needs-full-name": Refusal("rcpt", "504 5.5.2 <vm>: Helo command rejected: need fully-qualified "
                                                    "hostname", "us"),
    "postfix-helo-not-found": Refusal("rcpt", "450 4.7.1 <vm>: Helo command rejected: Host not found", "pace"),
    "postfix-helo-denied": Refusal("rcpt", "550 5.7.1 <vm>: Helo command rejected: Access denied", "us"),
    "postfix-client-denied": Refusal("rcpt", "554 5.7.1 <unknown[192.0.2.1]>: Client host rejected: Access denied", "us"),
    "postfix-client-blocked": Refusal("rcpt", "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using a "
                                              "list", "us"),
    "postfix-sender-not-owned": Refusal("rcpt", "553 5.7.1 <news@club.example>: Sender address rejected: not owned by user "
                                                "club", "us"),
    "postfix-sender-not-found": Refusal("rcpt", "450 4.1.8 <news@club.example>: Sender address rejected: Domain not "
                                                "found", "us"),
    "postfix-login-needed": Refusal("mail", "530 5.7.0 Must issue a STARTTLS command first", "us"),
    "postfix-unknown": Refusal("rcpt", "550 5.1.1 <someone@list.example>: Recipient address rejected: User unknown in "
                                       "virtual mailbox table", "them"),
    "postfix-too-large": Refusal("dot", "552 5.3.4 Error: message file too big", "message"),
    "postfix-no-name-server": Refusal("rcpt", "450 4.1.2 <someone@list.example>: Recipient address rejected: Domain not "
                                              "found", "pace"),
    # Others
    "exim-relay": Refusal("rcpt", "550 relay not permitted", "us"),
    "exim-sender-verify": Refusal("rcpt", "550 Sender verify failed", "us"),
    "yahoo-deferred": Refusal("mail", "421 4.7.0 [TSS04] Messages temporarily deferred due to user complaints", "pace"),
    "yahoo-not-accepted": Refusal("dot", "554 5.7.9 Message not accepted for policy reasons", "us"),
    "icloud-refused": Refusal("connect", "554 5.7.1 [CS01] Connection refused for policy reasons", "us"),
    "sendgrid-credits": Refusal("auth", "451 Authentication failed: Maximum credits exceeded", "us"),
    "sendgrid-from": Refusal("dot", "550 The from address does not match a verified Sender Identity", "message"),
    "mailgun-disabled": Refusal("dot", "550 5.7.1 Domain club.example is not allowed to send: account disabled", "message"),
    "mailgun-limit": Refusal("dot", "451 4.7.1 Domain club.example is not allowed to send: recipient limit exceeded, try "
                                    "again after an hour", "pace"),
    "brevo-not-activated": Refusal("auth", "502 5.7.0 Your SMTP account is not yet activated", "us"),
    "mailjet-blocked": Refusal("auth", "535 5.7.1 Account temporarily blocked", "us"),
    "fastmail-sender": Refusal("rcpt", "551 5.7.1 Not authorised to send from this header address", "us"),
    "zoho-unusual": Refusal("mail", "550 5.4.6 Unusual sending activity detected. Please try after sometime", "us"),
    "ionos-limit": Refusal("rcpt", "550 Requested action not taken: mail limit exceeded", "us"),
    "ovh-limit": Refusal("rcpt", "550 5.7.1 Too many messages sent, try again in an hour", "us"),
    "gmx-sender": Refusal("mail", "550 Requested action not taken: mailbox unavailable, sender address is not allowed", "us"),
    "qq-login": Refusal("mail", "503 Error: need EHLO and AUTH first !", "pace"),
    "mailenable-login": Refusal("rcpt", "503 This mail server requires authentication when attempting to send to a non-local "
                                        "e-mail address. Please check your mail client settings", "pace"),
    "proofpoint-blocked": Refusal("connect", "554 Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.1", "us"),
}


def script_of(name: str) -> Script:
    """A gateway that says that to everybody, every time. Raises InvalidInput for a name that there is not."""
    if name not in REFUSALS:
        raise InvalidInput(f'There is no refusal "{name}". Those that there are: {", ".join(REFUSALS)}.', field="provider")
    phase, reply, _ = REFUSALS[name]
    answer = Answer(temporary=1.0, temporary_reply=reply) if reply[0] == "4" else Answer(permanent=1.0, permanent_reply=reply)
    return Script(**{phase: answer})  # type: ignore[arg-type]  # a phase is one of its fields
