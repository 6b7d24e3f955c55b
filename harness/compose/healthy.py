"""Says by its exit code whether a container is well. It is run every few seconds, in every
container: it stands alone and imports as little as it can.

    python -IS healthy.py 8082             GET http://127.0.0.1:8082/readyz answers 200
    python -IS healthy.py https 8443       the same over HTTPS, whoever signed the certificate
    python -IS healthy.py page 8089        GET / answers 200
    python -IS healthy.py file PATH 8082   and the file is there
    python -IS healthy.py connected 5557   a connection to that port, of whatever host, stands
"""

from __future__ import annotations

import os
import socket
import sys

WITHIN_S = 3.0
_ESTABLISHED = "01"


def is_ready(port: int, path: str = "/readyz", *, tls: bool = False) -> bool:
    """Whether a request of this container to itself is answered 200."""
    with socket.create_connection(("127.0.0.1", port), WITHIN_S) as plain:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        with _secured(plain) if tls else plain as connection:
            connection.sendall(request)
            return connection.recv(64).split(b" ")[1:2] == [b"200"]


def is_connected(table: str, port: int) -> bool:
    """Whether a table as in /proc/net/tcp has a standing connection to `port` elsewhere."""
    for line in table.splitlines()[1:]:
        _, _, remote, state = line.split()[:4]
        if state == _ESTABLISHED and int(remote.rpartition(":")[2], 16) == port:
            return True
    return False


def _secured(plain: socket.socket) -> socket.socket:
    # Loaded for the one container that needs it.
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # It asks itself: whether it answers, and not who it is.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(plain)


def main(arguments: list[str]) -> int:
    """0 when it is well, else 1."""
    try:
        match arguments:
            case ["https", port]:
                well = is_ready(int(port), tls=True)
            case ["page", port]:
                well = is_ready(int(port), "/")
            case ["file", path, port]:
                well = os.path.exists(path) and is_ready(int(port))
            case ["connected", port]:
                with open("/proc/net/tcp", encoding="ascii") as table:
                    well = is_connected(table.read(), int(port))
            case [port]:
                well = is_ready(int(port))
            case _:
                sys.stderr.write(f"{__doc__}\n")
                return 3
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
