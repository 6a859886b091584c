"""What the tests of the pages share: pictures for whoever wants to look, and a server elsewhere that must never hear of us."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from playwright.async_api import Page


class Canary:
    """A server elsewhere. `heard` is what was asked of it."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard.append((await reader.readline()).decode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()


async def shot(page: Page, name: str) -> None:
    """For whoever wants to look: POSTROOM_TEST_SHOTS names a directory."""
    if directory := os.environ.get("POSTROOM_TEST_SHOTS"):
        await page.screenshot(path=Path(directory) / f"{name}.png", full_page=True)
