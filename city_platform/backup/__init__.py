"""Copies of an installation's embedded stores in one file, taken while it runs, and back again."""

from city_platform.backup.archive import BackupRefused
from city_platform.backup.restoring import Restored, restore
from city_platform.backup.taking import Taken, back_up

__all__ = ["BackupRefused", "Restored", "Taken", "back_up", "restore"]
