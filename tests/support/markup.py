"""HTML as a tree, to ask what is in it; every element must be closed where it was opened."""

from collections.abc import Iterator
from html.parser import HTMLParser

VOID = ("meta", "link", "input", "br", "img")


class Element:
    """An element, its attributes, and what is in it."""

    def __init__(self, tag: str, attributes: dict[str, str | None]) -> None:
        self.tag, self.attributes = tag, attributes
        self.content: list[Element | str] = []

    def __getitem__(self, name: str) -> str | None:
        return self.attributes.get(name)

    @property
    def classes(self) -> list[str]:
        return (self["class"] or "").split()

    @property
    def text(self) -> str:
        """What is written in it, white space as it is."""
        return "".join(part if isinstance(part, str) else part.text for part in self.content)

    @property
    def words(self) -> str:
        """The same, white space as it is shown."""
        return " ".join(self.text.split())

    def __iter__(self) -> "Iterator[Element]":
        """It and every element in it."""
        yield self
        for part in self.content:
            if isinstance(part, Element):
                yield from part

    def all(self, tag: str = "", *, of: str = "", **attributes: str) -> "list[Element]":
        """Every element in it with this tag, of this class, with these attributes."""
        return [
            element
            for element in self
            if (not tag or element.tag == tag)
            and (not of or of in element.classes)
            and all(element[name] == value for name, value in attributes.items())
        ]

    def one(self, tag: str = "", *, of: str = "", **attributes: str) -> "Element":
        """The only such element."""
        (found,) = self.all(tag, of=of, **attributes)
        return found


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag}: {attrs}"
        element = Element(tag, dict(attrs))
        self.open[-1].content.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, f"</{tag}> at {self.getpos()} closes another element"

    def handle_data(self, data: str) -> None:
        self.open[-1].content.append(data)


def parse(html: str) -> Element:
    """The tree of a document."""
    builder = _Builder()
    builder.feed(html)
    builder.close()
    assert len(builder.open) == 1, f"never closed: {[element.tag for element in builder.open[1:]]}"
    return builder.open[0]
