"""aiocoap as a peer, on an event loop in a thread of its own: as a device, and as a server.

It knows CoAP and no LwM2M: what it serves and what it sends are bytes written by hand.
"""

from __future__ import annotations

import asyncio
import gc
import queue
import threading
from collections.abc import Coroutine
from typing import Any, NamedTuple, TypeVar

import aiocoap  # type: ignore[import-untyped]  # it has no py.typed
from aiocoap import resource

from tests.interop.credentials import Credential

T = TypeVar("T")
WITHIN_S = 60.0
_CLOSE_WITHIN_S = 30.0


class Got(NamedTuple):
    """A request that aiocoap was asked, or a response that it got."""

    code: str
    query: tuple[str, ...]
    content_format: int | None
    payload: bytes
    location: str
    observe: int | None


def _got(message: Any) -> Got:
    options = message.opt
    content_format = options.content_format
    return Got(
        message.code.dotted if message.code.is_response() else str(message.code),
        tuple(options.uri_query),
        None if content_format is None else int(content_format),
        message.payload,
        "/" + "/".join(options.location_path),
        options.observe,
    )


class LoopThread:
    """An event loop in a thread, and one aiocoap context on it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.context: Any = None

    def call(self, work: Coroutine[Any, Any, T], within_s: float = WITHIN_S) -> T:
        """Run a coroutine on the loop; its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(within_s)

    def end(self) -> None:
        """Shut the context down and stop the loop."""
        self.call(self._shut_down(), _CLOSE_WITHIN_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_WITHIN_S)
        self._loop.close()

    async def _shut_down(self) -> None:
        if self.context is not None:
            await self.context.shutdown()
            self.context = None
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        # aiocoap closes its DTLS connections when they are collected: here, while there is a loop.
        gc.collect()
        turn = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(turn.set_result, None)
        await turn

    async def request(self, message: Any) -> Got:
        """Ask; the response."""
        return _got(await self.context.request(message).response)


class Recorder(resource.Resource):  # type: ignore[misc]  # its base is untyped
    """Hands every request to a function, in the loop."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self._answer = answer

    async def render(self, request: Any) -> Any:
        """aiocoap: any method."""
        return self._answer(request)


class Observable(resource.ObservableResource):  # type: ignore[misc]  # likewise
    """One value as text; it can be read, written and observed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.observers = 0

    def update_observation_count(self, newcount: int) -> None:
        """aiocoap: who observes changed."""
        self.observers = newcount

    async def render_get(self, request: Any) -> Any:
        """aiocoap: Read, in the format asked for."""
        if request.opt.accept == 60:
            # RFC 8949: a text string of fewer than 24 bytes.
            payload = bytes([0x60 + len(self.text)]) + self.text.encode()
            return aiocoap.Message(payload=payload, content_format=60)
        return aiocoap.Message(payload=self.text.encode(), content_format=0)

    async def render_put(self, request: Any) -> Any:
        """aiocoap: Write."""
        self.text = request.payload.decode()
        self.updated_state()
        return aiocoap.Message(code=aiocoap.CHANGED)


class AiocoapDevice(LoopThread):
    """aiocoap as a device of our server at `port`."""

    def __init__(self, endpoint: str, server_port: int, credential: Credential | None) -> None:
        super().__init__()
        self.endpoint = endpoint
        scheme = "coap" if credential is None else "coaps"
        self._base = f"{scheme}://127.0.0.1:{server_port}"
        self.executed: queue.Queue[Got] = queue.Queue()
        self.composites: queue.Queue[Got] = queue.Queue()
        self.name = Observable("aiocoap")
        self.call(self._open(credential))

    async def _open(self, credential: Credential | None) -> None:
        site = resource.Site()
        site.add_resource(["3", "0", "0"], self.name)
        site.add_resource(["3", "0", "4"], Recorder(self._execute))
        site.add_resource(["3"], Recorder(self._discover))
        site.add_resource([], Recorder(self._composite))
        if credential is None:
            self.context = await aiocoap.Context.create_server_context(
                site, bind=("127.0.0.1", 0), transports=["simple6"]
            )
            return
        self.context = await aiocoap.Context.create_server_context(site, transports=["tinydtls"])
        proof = {"psk": credential.key, "client-identity": credential.identity.encode()}
        self.context.client_credentials.load_from_dict({f"{self._base}/*": {"dtls": proof}})

    def ask(
        self,
        method: Any,
        path: str,
        payload: bytes = b"",
        content_format: int | None = None,
    ) -> Got:
        """One request to the server."""
        message = aiocoap.Message(code=method, uri=f"{self._base}{path}", payload=payload)
        if content_format is not None:
            message.opt.content_format = content_format
        return self.call(self.request(message))

    def change(self, text: str) -> None:
        """Change the observable value."""

        async def change() -> None:
            self.name.text = text
            self.name.updated_state()

        self.call(change())

    def _execute(self, request: Any) -> Any:
        self.executed.put(_got(request))
        return aiocoap.Message(code=aiocoap.CHANGED)

    def _discover(self, request: Any) -> Any:
        links = b"</3>;ver=1.1,</3/0>,</3/0/0>,</3/0/4>"
        return aiocoap.Message(code=aiocoap.CONTENT, payload=links, content_format=40)

    def _composite(self, request: Any) -> Any:
        self.composites.put(_got(request))
        if request.code == aiocoap.FETCH:
            # RFC 8428 §6: [{-2: "/3/0/", 0: "0", 3: "aiocoap"}]
            pack = b"\x81\xa3\x21\x65/3/0/\x00\x610\x03\x67aiocoap"
            return aiocoap.Message(code=aiocoap.CONTENT, payload=pack, content_format=112)
        return aiocoap.Message(code=aiocoap.CHANGED)


class AiocoapServer(LoopThread):
    """aiocoap as the server of one device of ours; by DTLS when there is a credential."""

    def __init__(self, port: int, credential: Credential | None) -> None:
        super().__init__()
        self.port = port
        self.registered: queue.Queue[Got] = queue.Queue()
        self.updated: queue.Queue[Got] = queue.Queue()
        self._device: Any = None
        self.call(self._open(credential))

    async def _open(self, credential: Credential | None) -> None:
        site = resource.Site()
        site.add_resource(["rd"], Recorder(self._register))
        site.add_resource(["rd", "1"], Recorder(self._update))
        transport = "udp6" if credential is None else "tinydtls_server"
        credentials = aiocoap.credentials.CredentialsMap()
        if credential is not None:
            proof = {"psk": credential.key, "client-identity": credential.identity.encode()}
            credentials.load_from_dict({":device": {"dtls": proof}})
        self.context = await aiocoap.Context.create_server_context(
            site,
            bind=("127.0.0.1", self.port),
            transports=[transport],
            server_credentials=credentials,
        )

    def _register(self, request: Any) -> Any:
        self._device = request.remote
        self.registered.put(_got(request))
        return aiocoap.Message(code=aiocoap.CREATED, location_path=("rd", "1"))

    def _update(self, request: Any) -> Any:
        self.updated.put(_got(request))
        return aiocoap.Message(code=aiocoap.CHANGED)

    def _message(
        self,
        method: Any,
        path: str,
        payload: bytes,
        content_format: int | None,
        accept: int | None,
        observe: int | None,
    ) -> Any:
        path, _, query = path.partition("?")
        message = aiocoap.Message(code=method, payload=payload)
        message.remote = self._device
        message.opt.uri_path = tuple(part for part in path.split("/") if part)
        message.opt.uri_query = tuple(part for part in query.split("&") if part)
        if content_format is not None:
            message.opt.content_format = content_format
        if accept is not None:
            message.opt.accept = accept
        if observe is not None:
            message.opt.observe = observe
        return message

    def ask(
        self,
        method: Any,
        path: str,
        payload: bytes = b"",
        *,
        content_format: int | None = None,
        accept: int | None = None,
    ) -> Got:
        """One request to the device."""
        message = self._message(method, path, payload, content_format, accept, None)
        return self.call(self.request(message))

    def observe(self, path: str, accept: int) -> Observation:
        """Observe a path of the device."""
        message = self._message(aiocoap.GET, path, b"", None, accept, 0)
        return Observation(self, message)


class Observation:
    """aiocoap's side of one observation; notifications are in `notified`."""

    def __init__(self, server: AiocoapServer, message: Any) -> None:
        self.notified: queue.Queue[Got] = queue.Queue()
        self._server = server
        self.first = server.call(self._begin(message))

    async def _begin(self, message: Any) -> Got:
        self._request = self._server.context.request(message)
        first = _got(await self._request.response)
        self._watching = asyncio.create_task(self._watch())
        return first

    async def _watch(self) -> None:
        async for response in self._request.observation:
            self.notified.put(_got(response))

    def cancel(self) -> None:
        """End it."""

        async def cancel() -> None:
            self._watching.cancel()
            self._request.observation.cancel()

        self._server.call(cancel())
