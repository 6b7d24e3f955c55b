"""Firmware updates by push and pull, and everything that can go wrong; ETS 751 to 779."""

from __future__ import annotations

import pytest

from lwm2m.errors import IllegalTransition
from lwm2m.firmware import (
    FirmwareAction,
    FirmwareFault,
    FirmwarePackage,
    FirmwareResult,
    FirmwareSettings,
    FirmwareState,
    FirmwareUpdate,
    encode_package,
)

URI = "coap://files.example/lamp.bin"
PACKAGE = encode_package(FirmwarePackage("street_lamp", "2.0.0", b"image"))
R, S = FirmwareResult, FirmwareState


def _pushed(package: bytes = PACKAGE, **settings: object) -> FirmwareUpdate:
    """A device that got a package by push and has checked it."""
    update = FirmwareUpdate(FirmwareSettings(**settings))  # type: ignore[arg-type]  # settings by name
    update.write_package(package, 0.0)
    update.handle_timer(10.0)
    return update


def _pulling(**settings: object) -> FirmwareUpdate:
    """A device that was told where a package is."""
    update = FirmwareUpdate(FirmwareSettings(**settings))  # type: ignore[arg-type]  # settings by name
    assert update.write_uri(URI, 0.0) is FirmwareAction.DOWNLOAD
    return update


def test_ets_751_a_new_device_is_idle_with_the_initial_result() -> None:
    assert FirmwareUpdate(FirmwareSettings()).values() == {3: 0, 5: 0, 6: "", 7: ""}


def test_ets_755_a_nul_byte_resets_and_a_valid_package_ends_downloaded() -> None:
    update = _pushed()
    assert update.values() == {3: 2, 5: 0, 6: "street_lamp", 7: "2.0.0"}
    assert update.write_package(b"\0", 11.0) is None
    assert update.values() == {3: 0, 5: 0, 6: "", 7: ""}


def test_ets_756_an_empty_uri_resets_and_a_valid_uri_ends_downloaded() -> None:
    update = _pulling()
    assert update.uri is not None
    assert update.uri.server == "coap://files.example"
    assert update.block_taken(1024) is None
    assert update.downloaded(PACKAGE, 1.0) is None
    assert update.state is S.DOWNLOADING
    update.handle_timer(1.5)
    assert (update.state, update.package_version) == (S.DOWNLOADED, "2.0.0")
    assert update.write_uri("", 2.0) is None
    assert update.values()[3] == 0


def test_ets_760_the_state_is_downloading_while_a_push_is_checked() -> None:
    update = FirmwareUpdate(FirmwareSettings(verify_s=3.0))
    update.write_package(PACKAGE, 0.0)
    assert (update.state, update.next_timer()) == (S.DOWNLOADING, 3.0)
    assert update.handle_timer(2.9) is None
    assert update.state is S.DOWNLOADING


def test_ets_770_a_successful_update_reboots_and_reports_after_it_has_registered() -> None:
    update = _pushed()
    assert update.registered() is None
    assert update.update(20.0) is None
    assert (update.state, update.next_timer()) == (S.UPDATING, 25.0)
    assert update.handle_timer(25.0) is FirmwareAction.REBOOT
    assert update.state is S.UPDATING
    assert update.registered() == "2.0.0"
    assert (update.state, update.result) == (S.IDLE, R.SUCCESS)
    assert update.registered() is None


def test_ets_771_a_pull_over_a_scheme_that_is_not_supported_has_result_9() -> None:
    update = FirmwareUpdate(FirmwareSettings())
    assert update.write_uri("https://files.example/lamp.bin", 0.0) is None
    assert (update.state, update.result) == (S.IDLE, R.UNSUPPORTED_PROTOCOL)


@pytest.mark.parametrize("pulls", [False, True])
def test_ets_772_an_update_without_a_package_is_refused(pulls: bool) -> None:
    update = _pulling() if pulls else FirmwareUpdate(FirmwareSettings())
    state = update.state
    with pytest.raises(IllegalTransition):
        update.update(1.0)
    assert (update.state, update.result) == (state, R.INITIAL)


def test_ets_773_a_package_over_the_flash_has_result_2() -> None:
    update = _pushed(flash_bytes_max=10)
    assert (update.state, update.result) == (S.IDLE, R.NOT_ENOUGH_FLASH)
    update = _pulling(flash_bytes_max=1000)
    assert update.block_taken(1024) is FirmwareAction.STOP_DOWNLOAD
    assert (update.state, update.result) == (S.IDLE, R.NOT_ENOUGH_FLASH)
    assert update.downloaded(PACKAGE, 1.0) is None
    assert update.state is S.IDLE


def test_ets_774_a_package_over_the_memory_has_result_3() -> None:
    update = _pushed(ram_bytes_max=10)
    assert (update.state, update.result) == (S.IDLE, R.OUT_OF_RAM)


def test_ets_775_a_link_that_stays_cut_has_result_4() -> None:
    update = _pulling(attempts=3, attempt_pause_s=5.0)
    for failed_at in (10.0, 20.0):
        assert update.download_failed(R.CONNECTION_LOST, failed_at) is None
        assert update.next_timer() == failed_at + 5.0
        assert update.handle_timer(failed_at + 5.0) is FirmwareAction.DOWNLOAD
    update.download_failed(R.CONNECTION_LOST, 30.0)
    assert (update.state, update.result) == (S.IDLE, R.CONNECTION_LOST)
    assert update.download_failed(R.CONNECTION_LOST, 31.0) is None


def test_progress_forgets_earlier_breaks_of_the_link() -> None:
    update = _pulling(attempts=2)
    update.download_failed(R.CONNECTION_LOST, 1.0)
    update.handle_timer(6.0)
    update.block_taken(16)
    update.download_failed(R.CONNECTION_LOST, 7.0)
    assert update.state is S.DOWNLOADING


def test_ets_776_a_corrupt_package_has_result_5() -> None:
    update = _pushed(PACKAGE[:-1] + b"?")
    assert (update.state, update.result) == (S.IDLE, R.INTEGRITY_FAILED)


@pytest.mark.parametrize(("package", "name"), [(b"MZ...", None), (PACKAGE, "water_meter")])
def test_ets_777_a_package_of_another_type_or_model_has_result_6(
    package: bytes, name: str | None
) -> None:
    update = _pushed(package, package_name=name)
    assert (update.state, update.result) == (S.IDLE, R.UNSUPPORTED_PACKAGE)


def test_ets_778_a_bad_uri_has_result_7() -> None:
    update = FirmwareUpdate(FirmwareSettings())
    assert update.write_uri("coap:///nowhere", 0.0) is None
    assert (update.state, update.result) == (S.IDLE, R.INVALID_URI)
    update = _pulling()
    update.download_failed(R.INVALID_URI, 1.0)
    assert (update.state, update.result) == (S.IDLE, R.INVALID_URI)


def test_ets_779_a_failed_installation_keeps_the_package_and_has_result_8() -> None:
    update = _pushed(fault="update_failed")
    update.update(20.0)
    assert update.handle_timer(25.0) is None
    assert (update.state, update.result) == (S.DOWNLOADED, R.UPDATE_FAILED)
    assert update.package_version == "2.0.0"
    assert update.registered() is None


def test_a_failed_installation_may_lose_the_package() -> None:
    update = _pushed(fault="update_failed_package_lost")
    update.update(20.0)
    update.handle_timer(25.0)
    assert update.values() == {3: 0, 5: 8, 6: "", 7: ""}


@pytest.mark.parametrize(
    ("fault", "pushed", "pulled"),
    [
        ("not_enough_flash", R.NOT_ENOUGH_FLASH, R.NOT_ENOUGH_FLASH),
        ("out_of_ram", R.OUT_OF_RAM, R.OUT_OF_RAM),
        ("connection_lost", R.INITIAL, R.CONNECTION_LOST),
        ("integrity_failed", R.INTEGRITY_FAILED, R.INTEGRITY_FAILED),
        ("unsupported_package", R.UNSUPPORTED_PACKAGE, R.UNSUPPORTED_PACKAGE),
        ("invalid_uri", R.INITIAL, R.INVALID_URI),
        ("unsupported_protocol", R.INITIAL, R.UNSUPPORTED_PROTOCOL),
    ],
)
def test_what_is_configured_to_fail_fails(
    fault: FirmwareFault, pushed: FirmwareResult, pulled: FirmwareResult
) -> None:
    assert _pushed(fault=fault).result is pushed
    update = _pulling(fault=fault)
    update.downloaded(PACKAGE, 1.0)
    assert (update.state, update.result) == (S.IDLE, pulled)


def test_cancel_ends_a_download_with_result_10_from_version_1_1_on() -> None:
    update = _pulling()
    assert update.cancel() is FirmwareAction.STOP_DOWNLOAD
    assert (update.state, update.result) == (S.IDLE, R.CANCELLED)
    assert update.download_failed(R.CONNECTION_LOST, 1.0) is None
    old = _pushed(object_version="1.0")
    with pytest.raises(IllegalTransition):
        old.cancel()
    assert old.state is S.DOWNLOADED


def test_a_deferred_update_has_result_11_and_begins_by_itself_when_its_time_is_over() -> None:
    update = _pushed(fault="deferred")
    assert update.update(20.0, defer_s_max=60) is None
    assert (update.state, update.result) == (S.DOWNLOADED, R.DEFERRED)
    assert update.next_timer() == 80.0
    assert update.handle_timer(80.0) is None
    assert (update.state, update.next_timer()) == (S.UPDATING, 85.0)


@pytest.mark.parametrize(("version", "defer_s_max"), [("1.0", 60), ("1.1", 0)])
def test_nothing_is_deferred_where_it_is_not_allowed(version: str, defer_s_max: int) -> None:
    update = _pushed(fault="deferred", object_version=version)
    update.update(20.0, defer_s_max=defer_s_max)
    assert update.state is S.UPDATING


def test_a_further_package_while_one_is_there_is_refused() -> None:
    update = _pushed()
    with pytest.raises(IllegalTransition):
        update.write_package(PACKAGE, 11.0)
    with pytest.raises(IllegalTransition):
        update.write_uri(URI, 11.0)
    assert update.state is S.DOWNLOADED
