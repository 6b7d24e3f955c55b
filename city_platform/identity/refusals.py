"""What a request to identity is refused with."""

from __future__ import annotations


class Refusal(Exception):
    """A request is refused: the HTTP status, what is wrong, and what to do."""

    def __init__(self, status: int, title: str, detail: str, retry_after_s: float = 0.0) -> None:
        super().__init__(f"{title}: {detail}")
        self.status = status
        self.title = title
        self.detail = detail
        self.retry_after_s = retry_after_s
