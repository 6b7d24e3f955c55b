"""Prints the reference page of `report.json` from its schema: docs/reference/report.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from contracts.report import VERSION, Report

PAGE = "docs/reference/report.md"
COMMAND = "python -m harness.reporting.reference"


def reference_page() -> str:
    """The page as Markdown. A test compares it with the one that is committed."""
    components = msgspec.json.schema(Report)["$defs"]
    lines = [
        "# report.json",
        "",
        f"Version {VERSION} of the schema. Made by `{COMMAND} > {PAGE}`; do not edit.",
        "",
        "A run's report is made from its journal alone: `python -m harness.reporting <run folder>`",
        "makes it again. A reader ignores fields that it does not know, and refuses a higher `v`.",
        "Exit codes: 0 holds, 1 broken, 2 inconclusive, 3 anything else.",
        "",
        "As JSON Schema: `python -m harness.reporting.reference --schema`.",
    ]
    for name in ("Report", *(other for other in components if other != "Report")):
        lines += ["", f"## {name}", "", *_section(components[name])]
    return "\n".join(lines) + "\n"


def schema_document() -> bytes:
    """The JSON Schema of `report.json`."""
    return msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Report)), indent=2) + b"\n"


def _section(schema: Mapping[str, Any]) -> Iterator[str]:
    yield str(schema.get("description", ""))
    yield ""
    yield "| field | type | meaning |"
    yield "|---|---|---|"
    for field, of_field in schema["properties"].items():
        yield f"| `{field}` | {type_text(of_field)} | {of_field.get('description', '')} |"


def type_text(schema: Mapping[str, Any]) -> str:
    """A JSON Schema as words: `list of [Value](#value)`, `string or null`."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        # `{}` stands for what is handed on undecoded: the other options say what it is.
        return " or ".join(type_text(option) for option in schema["anyOf"] if option)
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    match schema.get("type"):
        case "array" if "prefixItems" in schema:
            return f"[{', '.join(type_text(item) for item in schema['prefixItems'])}]"
        case "array":
            return f"list of {type_text(schema['items'])}"
        case "object":
            return f"map of text to {type_text(schema.get('additionalProperties', {}))}"
        case str() as name:
            return name
    return "any"


def main() -> None:
    """Write the page, or with `--schema` the JSON Schema, to standard output."""
    import sys

    if sys.argv[1:] == ["--schema"]:
        sys.stdout.buffer.write(schema_document())
    else:
        sys.stdout.write(reference_page())


if __name__ == "__main__":
    main()
