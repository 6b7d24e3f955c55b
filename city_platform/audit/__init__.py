"""Audit: who did what, when, and how it ended; append-only, chained, and archived."""

from city_platform.audit.component import run
from city_platform.audit.config import AuditConfig

__all__ = ["AuditConfig", "run"]
