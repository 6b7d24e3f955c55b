"""A delivery stream on loopback that takes and refuses what a test says, over AWS's own wire form.

moto takes everything at once; what an account does under load is only here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

# What becomes of a call's records: a word for each that is refused, None for those taken; or the
# code of an error that refuses the whole call.
Verdicts = list[str | None] | str
Judge = Callable[[Sequence[bytes]], Verdicts]


class ScriptedFirehose:
    """`taken` are the records in the order in which they were taken, `calls` those of each call."""

    def __init__(self, judge: Judge) -> None:
        self.taken: list[bytes] = []
        self.calls: list[list[bytes]] = []
        self._judge = judge
        self._open: list[asyncio.Task[None]] = []

    def answer(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """HTTP status and body for one PutRecordBatch."""
        records = [b64decode(one["Data"]) for one in json.loads(body)["Records"]]
        self.calls.append(records)
        verdicts = self._judge(records)
        if isinstance(verdicts, str):
            return 400, {"__type": verdicts, "message": "slow down"}
        self.taken += [one for one, word in zip(records, verdicts, strict=True) if word is None]
        return 200, {
            "FailedPutCount": sum(word is not None for word in verdicts),
            "RequestResponses": [
                {"RecordId": "1"} if word is None else {"ErrorCode": word, "ErrorMessage": "no"}
                for word in verdicts
            ],
        }

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self._open.append(asyncio.get_running_loop().create_task(self._serve(reader, writer)))

    async def close(self) -> None:
        """End all connections."""
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer_all(reader, writer)
        finally:
            writer.transport.abort()

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length:")[2].split()[0])
                status, answer = self.answer(await reader.readexactly(length))
                body = json.dumps(answer).encode()
                writer.write(
                    b"HTTP/1.1 %d x\r\ncontent-type: application/x-amz-json-1.1\r\n"
                    b"content-length: %d\r\n\r\n%b" % (status, len(body), body)
                )
                await writer.drain()


@contextlib.asynccontextmanager
async def scripted_firehose(judge: Judge) -> AsyncIterator[tuple[ScriptedFirehose, str]]:
    """The stream and its URL while the block runs."""
    stream = ScriptedFirehose(judge)
    server = await asyncio.start_server(stream.accept, "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()
        yield stream, f"http://{host}:{port}"
    finally:
        server.close()
        await stream.close()
