"""The pages that are printed whole; `python -m harness.reference_pages` writes them too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from harness import features, metric_pages, state_pages
from harness.feature_lists import GROUPS

ROOT: Final = Path(__file__).parents[1]


def printed_pages() -> Mapping[str, str]:
    """The text of each page by its path."""
    return {
        state_pages.PAGE: state_pages.states_page(),
        features.PAGE: features.features_page(GROUPS),
        metric_pages.PAGE: metric_pages.metrics_page(),
    }


def write_printed_pages() -> None:
    """Write them all."""
    for page, text in printed_pages().items():
        (ROOT / page).write_text(text)
