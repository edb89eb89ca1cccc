"""A page in a real browser."""

import shutil
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None
)

HEIGHT = 900


class Watched:
    """A page, and everything it said or asked for."""

    def __init__(self, browser: Browser, path: Path, width: int = 1280) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": HEIGHT}, color_scheme="light", accept_downloads=True
        )
        self.context.set_default_timeout(60_000)
        self.page: Page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.drawn()

    def drawn(self) -> None:
        """Wait until every figure that is shown is drawn."""
        self.page.wait_for_selector("body[data-ready=yes]")

    def fit(self, width: int, scheme: Literal["light", "dark"]) -> None:
        """Look at the same page at another width, by day or by night."""
        self.page.emulate_media(color_scheme=scheme)
        self.page.evaluate("document.body.dataset.ready = 'no'")
        size = self.page.viewport_size
        if size and size["width"] == width:
            self.page.evaluate("dispatchEvent(new Event('resize'))")
        else:
            self.page.set_viewport_size({"width": width, "height": HEIGHT})
        self.drawn()

    def close(self) -> None:
        """Leave the page, which must have said nothing and asked the network for nothing."""
        self.context.close()
        assert self.said == []
        assert [url for url in self.asked if not url.startswith(("file:", "data:", "blob:"))] == []
