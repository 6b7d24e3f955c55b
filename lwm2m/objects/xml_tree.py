"""XML documents of a bounded kind as trees whose elements know their lines.

No document type declarations (and so no entities), no more than a few levels, not too large.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.parsers import expat

BYTES_MAX = 4 * 1_024 * 1_024
ELEMENTS_MAX = 20_000
DEPTH_MAX = 16

_NO_DECLARATIONS = "definitions need no DTD: delete <!DOCTYPE …>"


class MalformedXml(Exception):
    """A document that is not read further: what is wrong at which line, and what to do."""

    def __init__(self, line: int, what: str, remedy: str) -> None:
        super().__init__(f"line {line}: {what}; {remedy}")
        self.line = line
        self.what = what
        self.remedy = remedy


@dataclass(slots=True)
class Element:
    """An element: its name without namespace, where it began, its own text, what is in it."""

    name: str
    line: int
    attributes: dict[str, str]
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def named(self, name: str) -> list[Element]:
        """The children called `name`, which is in lower case."""
        return [child for child in self.children if child.name.lower() == name]

    def first(self, name: str) -> Element | None:
        """The first child called `name`; None when there is none."""
        found = self.named(name)
        return found[0] if found else None

    def text_of(self, name: str) -> str:
        """The text of the first child called `name`, without space around; empty without one."""
        found = self.first(name)
        return "" if found is None else found.text.strip()

    def line_of(self, name: str) -> int:
        """The line of the first child called `name`; the element's own without one."""
        found = self.first(name)
        return self.line if found is None else found.line


def read_tree(data: bytes) -> Element:
    """The root of a document. Raises `MalformedXml`."""
    if len(data) > BYTES_MAX:
        what = f"{len(data)} bytes, more than {BYTES_MAX}"
        raise MalformedXml(1, what, "a definition is smaller: is this one?")
    return _Builder().build(data)


class _Builder:
    def __init__(self) -> None:
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._take_text
        self._parser.StartDoctypeDeclHandler = self._refuse_declaration
        self._open: list[Element] = []
        self._texts: list[list[str]] = []
        self._root: Element | None = None
        self._count = 0

    def build(self, data: bytes) -> Element:
        try:
            self._parser.Parse(data, True)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            what = f"no well-formed XML ({reason})"
            raise MalformedXml(error.lineno, what, "correct it, or save it anew") from None
        except (LookupError, ValueError):
            raise MalformedXml(1, "an unknown encoding", "save it as UTF-8") from None
        assert self._root is not None
        return self._root

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        line = self._parser.CurrentLineNumber
        self._count += 1
        if len(self._open) == DEPTH_MAX or self._count > ELEMENTS_MAX:
            raise MalformedXml(line, "too many elements", "is this an object definition?")
        element = Element(name.rpartition(":")[2], line, attributes)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self._root = element
        self._open.append(element)
        self._texts.append([])

    def _end(self, _name: str) -> None:
        self._open.pop().text = "".join(self._texts.pop())

    def _take_text(self, text: str) -> None:
        self._texts[-1].append(text)

    def _refuse_declaration(self, *_parts: object) -> None:
        raise MalformedXml(
            self._parser.CurrentLineNumber, "a document type declaration", _NO_DECLARATIONS
        )
