"""Debian's dkimpy, which shares no line with our signer, for many messages at once. Runs under /usr/bin/python3.

Reads {"records": {name: TXT}, "messages": [base64]} and writes for each message whether each of its signatures holds.
"""

import base64
import json
import sys

import dkim


def main() -> None:
    given = json.load(sys.stdin)
    records = given["records"]

    def look_up(name: bytes, timeout: float = 0) -> bytes:
        return records[name.decode().rstrip(".")].encode()

    def holds(message: bytes, index: int) -> bool:
        try:
            return dkim.DKIM(message).verify(index, dnsfunc=look_up)
        except dkim.DKIMException:
            return False

    messages = [base64.b64decode(one) for one in given["messages"]]
    verdicts = []
    for message in messages:
        header = message.partition(b"\r\n\r\n")[0].lower()
        verdicts.append([holds(message, index) for index in range(header.count(b"dkim-signature:"))])
    json.dump(verdicts, sys.stdout)


main()
