"""One security context at work: aiocoap's OSCORE, with plaintexts and options as bytes.

The only module that imports aiocoap (a fifth of a second), so it is imported when the first context
is made. aiocoap derives keys, builds nonces and AADs, encrypts, and keeps the replay window; what
is inner and what outer, and every byte of a message, is ours.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from aiocoap import oscore  # type: ignore[import-untyped]  # it has no py.typed
from aiocoap.error import Error as AiocoapError  # type: ignore[import-untyped]  # likewise
from aiocoap.message import Direction, Message  # type: ignore[import-untyped]  # likewise
from aiocoap.numbers import codes as aiocoap_codes  # type: ignore[import-untyped]  # likewise

from lwm2m.coap import codes
from lwm2m.transport.oscore.faults import (
    Binding,
    DecryptionFailed,
    FreshnessUnknown,
    MalformedOscore,
    Replayed,
    SequenceExhausted,
)
from lwm2m.transport.oscore.material import HASHES, OscoreMaterial

# What it traces are keys, nonces and plaintexts; the latter carry credentials.
logging.getLogger("aiocoap.cryptography").setLevel(logging.CRITICAL)

SEQUENCES_AHEAD = 256
"""Sequence numbers that are reserved at a time: one write for so many messages, and at most so many
lost by a restart (RFC 8613 Appendix B.1.1, K)."""

_ECHO_BYTES = 8
_ALGORITHMS = {
    algorithm.value: algorithm
    for algorithm in oscore.algorithms.values()
    if isinstance(algorithm, oscore.AeadAlgorithm)
}


class _Context(
    oscore.CanProtect,  # type: ignore[misc]  # aiocoap's classes are untyped
    oscore.CanUnprotect,  # type: ignore[misc]  # likewise
    oscore.SecurityContextUtils,  # type: ignore[misc]  # likewise
):
    """aiocoap's context with our material, our storage and our bytes."""

    def __init__(self, material: OscoreMaterial, reserve: Callable[[int], None] | None) -> None:
        self.alg_aead = _ALGORITHMS[material.aead_algorithm]
        self.hashfun = oscore.hashfunctions[HASHES[material.hkdf_algorithm]]
        self.sender_id = material.sender_id
        self.recipient_id = material.recipient_id
        self.id_context = material.id_context
        self.derive_keys(material.master_salt, material.master_secret)
        self.sender_sequence_number = 0
        self.reserved_until = 0
        self.echo_recovery: bytes | None = None
        self.recipient_replay_window = oscore.ReplayWindow(material.replay_window, _do_nothing)
        self.plaintext = b""
        self.outer_code = codes.POST
        self._reserve = reserve

    def __repr__(self) -> str:
        return f"<OSCORE context {self.sender_id.hex()}/{self.recipient_id.hex()}>"

    def post_seqnoincrease(self) -> None:
        """aiocoap: a number was taken and its message not yet made."""
        if self._reserve is not None and self.sender_sequence_number > self.reserved_until:
            self.reserved_until = self.sender_sequence_number + SEQUENCES_AHEAD
            self._reserve(self.reserved_until)

    def _split_message(self, message: Any, request_id: Any) -> tuple[Any, bytes]:
        """aiocoap: what is encrypted. The carrier's payload is the whole plaintext already."""
        return _carrier(self.outer_code, b"", outgoing=True), message.payload

    def _post_decrypt_checks(
        self, aad: bytes, plaintext: bytes, protected_message: Any, request_id: Any
    ) -> None:
        """aiocoap: decrypted. Kept as bytes: our own codec reads them, strictly."""
        self.plaintext = plaintext


def _do_nothing() -> None:
    # The window is not stored: after a restart it is made anew by Echo.
    return


class Engine:
    """Protects and opens the messages of one context."""

    __slots__ = ("_context",)

    def __init__(
        self,
        material: OscoreMaterial,
        draw: Callable[[int], bytes],
        *,
        next_sequence: int = 0,
        window_known: bool = True,
        reserve: Callable[[int], None] | None = None,
    ) -> None:
        """`next_sequence` is the first number that was never used; `window_known` says that no
        request of the other end was ever taken. `reserve(n)` has to store n, to be the next
        `next_sequence`, before it returns."""
        self._context = _Context(material, reserve)
        self._context.sender_sequence_number = next_sequence
        self._context.reserved_until = next_sequence
        if window_known:
            self._context.recipient_replay_window.initialize_empty()
        else:
            self._context.echo_recovery = draw(_ECHO_BYTES)

    def __repr__(self) -> str:
        return repr(self._context)

    @property
    def next_sequence(self) -> int:
        """The sequence number of the next message that takes one."""
        return int(self._context.sender_sequence_number)

    @property
    def window_known(self) -> bool:
        """Whether replays can be told from fresh requests."""
        return bool(self._context.recipient_replay_window.is_initialized())

    def protect_request(self, plaintext: bytes, outer_code: int) -> tuple[bytes, bytes, Binding]:
        """The OSCORE option, the ciphertext, and what opens the response (RFC 8613 §8.1).

        `plaintext` is code, options and payload (§5.3). Raises `SequenceExhausted`.
        """
        message, binding = self._protect(plaintext, codes.POST, outer_code, None)
        return message.opt.oscore, message.payload, binding

    def protect_response(
        self, plaintext: bytes, binding: Binding, outer_code: int, *, fresh_nonce: bool
    ) -> tuple[bytes, bytes]:
        """Option and ciphertext of a response (§8.3).

        With `fresh_nonce` it takes a sequence number; otherwise the first response to a request
        uses the request's. Raises `SequenceExhausted`.
        """
        if fresh_nonce:
            binding.can_reuse_nonce = False
        message, _ = self._protect(plaintext, codes.CHANGED, outer_code, binding)
        return message.opt.oscore, message.payload

    def open_request(self, option: bytes, ciphertext: bytes, code: int) -> tuple[bytes, Binding]:
        """The plaintext of a request, and what protects its response (§8.2).

        `code` is the outer code, POST or FETCH. Raises `Replayed`, `DecryptionFailed`,
        `MalformedOscore` and `FreshnessUnknown`.
        """
        try:
            return self._open(option, ciphertext, code, None)
        except oscore.ReplayErrorWithEcho as error:
            raise FreshnessUnknown(error.request_id, error.echo) from None

    def open_response(self, option: bytes, ciphertext: bytes, binding: Binding) -> bytes:
        """The plaintext of a response (§8.4). Raises `DecryptionFailed`, `MalformedOscore`."""
        return self._open(option, ciphertext, codes.CHANGED, binding)[0]

    def _protect(
        self, plaintext: bytes, code: int, outer_code: int, binding: Binding
    ) -> tuple[Any, Binding]:
        self._context.outer_code = outer_code
        carrier = _carrier(code, plaintext, outgoing=True)
        try:
            message, made = self._context.protect(carrier, binding)
        except oscore.ContextUnavailable as error:
            raise SequenceExhausted(str(error)) from None
        return message, made

    def _open(
        self, option: bytes, ciphertext: bytes, code: int, binding: Binding
    ) -> tuple[bytes, Binding]:
        message = _carrier(code, ciphertext, outgoing=False)
        message.opt.oscore = option
        try:
            _, made = self._context.unprotect(message, binding)
        except oscore.ReplayErrorWithEcho:
            raise
        except oscore.ReplayError as error:
            raise Replayed(str(error)) from None
        except oscore.DecodeError as error:
            raise MalformedOscore(str(error)) from None
        except oscore.ProtectionInvalid as error:
            raise DecryptionFailed(str(error)) from None
        except (AiocoapError, ValueError) as error:
            # Decrypted, and then no CoAP: whoever has the key made it so.
            raise MalformedOscore(
                f"what was encrypted is no CoAP: {type(error).__name__}"
            ) from None
        plaintext, self._context.plaintext = self._context.plaintext, b""
        return plaintext, made


def _carrier(code: int, payload: bytes, *, outgoing: bool) -> Any:
    message = Message(code=aiocoap_codes.Code(code), payload=payload)
    message.direction = Direction.OUTGOING if outgoing else Direction.INCOMING
    return message
