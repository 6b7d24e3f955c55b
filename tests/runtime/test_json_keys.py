"""A JSON body that says a key twice is refused by name, however it is spelled; nothing else is."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.http import bind, json_response, make_app, read_body, serving
from runtime.http_client import HttpClient, HttpError
from runtime.json_keys import RepeatedKey, refuse_repeated_keys

SEED = 20_260_504
DOCUMENTS = 3_000


class Narrow(msgspec.Struct):
    """Passes over what it does not know, as a decoder of bodies may."""

    a: Any = None


@pytest.mark.parametrize(
    ("document", "key"),
    [
        (b'{"a":1,"a":1}', "'a'"),
        (b' \r\n\t{"operation":"read","path":"/3","path":"/4"}', "'path'"),
        (b'{"values":{"/3/0/1":1,"/3/0/1":2}}', "'/3/0/1'"),
        (b'[{},{"x":[{"b":null,"b":null}]}]', "'b'"),
        (b'{"a":1,"\\u0061":2}', "'a'"),
        (b'{"":1,"":2}', "''"),
        (b'{"/":1,"\\/":2}', "'/'"),
        ('{"ä":1,"\\u00e4":2}'.encode(), "'ä'"),
        (b'{"a":' + b"9" * 5_000 + b',"a":1e999}', "'a'"),
        (b'{"unknown":"\xff","a":1,"a":2}', "'a'"),
        (b'{"\\n":1,"\\n":2}', r"'\\n'"),
        (b'{"%s":1,"%s":2}' % (b"k" * 5_000, b"k" * 5_000), "'" + "k" * 64 + "'"),
        (b'{"constructor":1,"__proto__":1,"__proto__":2}', "'__proto__'"),
    ],
)
def test_a_key_that_comes_twice_is_named(document: bytes, key: str) -> None:
    with pytest.raises(RepeatedKey, match=f"the key {key} twice") as refused:
        refuse_repeated_keys(document)
    assert len(str(refused.value)) < 400
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b" ",
        b"{}",
        b"1",
        b'"a"',
        b'{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}',
        # Other keys to who decodes them, too.
        '{"\u212b":1,"\u00c5":2}'.encode(),
        b'{"a":1,"A":2}',
        # Not JSON: who decodes it says what is wrong.
        b'{"a":1,"a":',
        b"endpoint,serial\nlamp-1,1\n",
        b"\xef\xbb\xbf{}",
        b"[" * 100,
    ],
)
def test_everything_else_is_not_refused_here(document: bytes) -> None:
    refuse_repeated_keys(document)


def test_what_is_nested_too_deeply_is_refused_and_not_passed_over() -> None:
    depth = 100_000
    with pytest.raises(RepeatedKey, match="nested too deeply"):
        refuse_repeated_keys(b"[" * depth + b"]" * depth)


def repeats(document: bytes) -> bool:
    """Whether some object has a key twice, by the standard library and without shortcuts."""
    found = [False]

    def look(pairs: list[tuple[str, Any]]) -> None:
        keys = [key for key, _ in pairs]
        found[0] = found[0] or any(keys.count(key) > 1 for key in keys)

    json.loads(document.decode("utf-8", "surrogateescape"), object_pairs_hook=look)
    return found[0]


def made(chance: random.Random, depth: int = 0) -> str:
    """Any JSON; with few keys, so that they meet often."""
    kind = chance.randrange(8 if depth < 5 else 6)
    if kind < 6:
        return chance.choice(
            ["1", "-0.5e3", "true", "null", '"\\u0061 {\\"a\\":1,\\"a\\":2}"', '"ä,:}"']
        )
    parts = [made(chance, depth + 1) for _ in range(chance.randrange(4))]
    space = chance.choice(["", " ", "\n\t"])
    if kind == 6:
        return f"[{space}{','.join(parts)}{space}]"
    keys = (chance.choice(["a", "b", "c", "\\u0061", "ä", "\\u00e4", "\\/", "/"]) for _ in parts)
    members = (f'"{key}"{space}:{part}' for key, part in zip(keys, parts, strict=True))
    return f"{{{space}{','.join(members)}}}"


def is_refused(document: bytes) -> bool:
    try:
        refuse_repeated_keys(document)
    except RepeatedKey:
        return True
    return False


def test_any_document_is_refused_exactly_when_a_key_comes_twice() -> None:
    chance = random.Random(SEED)
    refused = 0
    for number in range(DOCUMENTS):
        document = made(chance).encode()
        assert is_refused(document) == repeats(document), (SEED, number, document)
        refused += is_refused(document)
    assert DOCUMENTS / 50 < refused < DOCUMENTS / 2


def test_whatever_a_decoder_takes_was_looked_at() -> None:
    """Bytes are changed at random: what a decoder of ours takes nevertheless says no key twice."""
    chance = random.Random(SEED)
    taken = 0
    for number in range(DOCUMENTS):
        text = bytearray(made(chance).encode())
        for _ in range(chance.randrange(3)):
            place = chance.randrange(len(text) + 1)
            text[place : place + chance.randrange(2)] = bytes([chance.choice(b'{}[]",:\\ \xff01a')])
        document = bytes(text)
        if is_refused(document):
            continue
        for kind in (Any, Narrow):
            try:
                msgspec.json.decode(document, type=kind)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            taken += 1
            assert not repeats(document), (SEED, number, document)
    assert taken > DOCUMENTS / 10


def asked(body: bytes, *, may_repeat_keys: bool = False) -> dict[str, Any]:
    """What a component answers to `body`. Raises `HttpError`."""

    async def take(request: Request) -> Response:
        found = await read_body(request, 10_000, may_repeat_keys=may_repeat_keys)
        return json_response({"bytes": len(found)})

    async def story() -> dict[str, Any]:
        app = make_app([Route("/take", take, methods=["POST"])], None)
        async with (
            asyncio.timeout(60),
            serving(app, bind("127.0.0.1", 0)) as address,
            HttpClient(address, "nobody's") as client,
        ):
            return await client.send("POST", "/take", body, dict[str, Any])

    return asyncio.run(story())


def test_a_component_answers_400_and_says_which_key() -> None:
    with pytest.raises(HttpError, match=r"400.*wrong body.*the key 'value' twice: say it once"):
        asked(b'{"operation":"write","value":10,"value":90}')


def test_programs_of_ours_may_be_believed() -> None:
    assert asked(b'{"a":1,"a":2}', may_repeat_keys=True) == {"bytes": 13}
