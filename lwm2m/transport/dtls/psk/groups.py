"""ECDHE with a server's public key. What computes it is imported when it is first needed."""

from __future__ import annotations

from lwm2m.transport.dtls.psk.messages import ServerKeyExchange

_P256, _X25519 = 23, 29
# RFC 7925 §4.4: P-256 is what devices have.
GROUP_NAMES = {_P256: "P-256", _X25519: "X25519"}


def agree(exchange: ServerKeyExchange) -> tuple[bytes, bytes] | None:
    """Our public key and the shared secret; None for a group that was not offered and for a point
    that is not in it.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, x25519
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        if exchange.group == _P256:
            theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), exchange.point)
            ours = ec.generate_private_key(ec.SECP256R1())
            point = ours.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            return point, ours.exchange(ec.ECDH(), theirs)
        if exchange.group == _X25519:
            peer = x25519.X25519PublicKey.from_public_bytes(exchange.point)
            mine = x25519.X25519PrivateKey.generate()
            return mine.public_key().public_bytes_raw(), mine.exchange(peer)
    except ValueError:
        return None
    return None
