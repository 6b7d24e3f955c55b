"""Ingestion: what devices report goes over a spool into the telemetry store and the archive."""

from city_platform.ingestion.component import run
from city_platform.ingestion.config import IngestionConfig

__all__ = ["IngestionConfig", "run"]
