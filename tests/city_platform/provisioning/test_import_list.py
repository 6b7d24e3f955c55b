"""The list of imports: newest first, in pages, with who brought which file and when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import msgspec
import pytest

from city_platform.provisioning.file_names import file_name
from city_platform.provisioning.jobs import Jobs
from contracts.api import ImportJob, ImportPage
from runtime.http_client import HttpClient, HttpError
from tests.city_platform.provisioning.installation import TOKEN, Installation, installed
from tests.city_platform.provisioning.rows import as_csv, row
from tests.processes import WITHIN_S


def story(folder: Path, tell: Callable[[Installation], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with installed(folder) as installation:
            await tell(installation)

    asyncio.run(whole())


async def pages(client: HttpClient, limit: int) -> list[list[str]]:
    """The ids of all imports, page by page."""
    found: list[list[str]] = []
    path: str | None = f"/v1/imports?limit={limit}"
    while path is not None:
        page = await client.get(path, ImportPage)
        found.append([job.id for job in page.imports])
        path = page.next_cursor and f"/v1/imports?limit={limit}&cursor={page.next_cursor}"
    return found


def test_imports_are_listed_newest_first_and_each_on_one_page(tmp_path: Path) -> None:
    async def tell(installation: Installation) -> None:
        assert await pages(installation.client, 2) == [[]]
        jobs = [(await installation.bring(as_csv([row(number)])))[0] for number in range(1, 6)]
        newest_first = [job.id for job in reversed(jobs)]
        assert await pages(installation.client, 2) == [
            newest_first[:2],
            newest_first[2:4],
            newest_first[4:],
        ]
        # A page that is just full is the last one.
        assert await pages(installation.client, 5) == [newest_first]
        whole = await installation.client.get("/v1/imports", ImportPage)
        assert whole.imports == list(reversed(jobs))

    story(tmp_path, tell)


def test_a_listed_import_says_who_brought_which_file_when_and_what_became_of_it(
    tmp_path: Path,
) -> None:
    async def tell(installation: Installation) -> None:
        headers = {
            "Authorization": f"Bearer {TOKEN}",
            "X-File-Name": "pier%20and%20quay.csv",
        }
        async with httpx.AsyncClient(
            base_url=f"http://{installation.address}", timeout=WITHIN_S
        ) as sender:
            sent = await sender.post("/v1/imports", content=as_csv([row(1)]), headers=headers)
        began = msgspec.json.decode(sent.content, type=ImportJob)
        # Imports run one after the other: the first has ended when the second has.
        await installation.bring(b"no manifest")
        failed, first = (await installation.client.get("/v1/imports", ImportPage)).imports
        assert (first.id, first.name, first.started_by) == (began.id, "pier and quay.csv", "token")
        assert (first.state, first.created) == ("finished", 1)
        assert first.started_at_us == began.started_at_us > 0
        assert first.ended_at_us is not None
        assert first.ended_at_us >= first.started_at_us
        assert (failed.state, failed.name) == ("failed", "")
        assert failed.reason
        assert failed.ended_at_us is not None

    story(tmp_path, tell)


def test_the_list_outlives_a_restart_and_an_interrupted_import_keeps_its_name(
    tmp_path: Path,
) -> None:
    async def whole() -> None:
        async with installed(tmp_path) as installation:
            job, _ = await installation.bring(as_csv([row(1)]))
        jobs = Jobs(tmp_path / "state" / "imports.sqlite")
        # As if killed in the middle of it.
        began = ImportJob(
            id="cut",
            state="running",
            rows=700,
            name="cut.csv",
            started_at_us=5,
            started_by="maria",
        )
        await jobs.save(began)
        (tmp_path / "state" / "uploads" / "cut.manifest").write_bytes(as_csv([row(2)]))
        jobs.close()
        async with installed(tmp_path) as installation:
            await installation.bring(as_csv([row(3)]))  # runs behind it
            listed = (await installation.client.get("/v1/imports", ImportPage)).imports
            assert [one.id for one in listed[1:]] == ["cut", job.id]
            assert listed[2] == job
            cut = listed[1]
            assert (cut.state, cut.rows, cut.created) == ("finished", 1, 1)
            assert (cut.name, cut.started_at_us, cut.started_by) == ("cut.csv", 5, "maria")

    asyncio.run(whole())


def test_an_import_of_an_earlier_version_is_listed_without_what_was_not_kept(
    tmp_path: Path,
) -> None:
    async def tell(installation: Installation) -> None:
        jobs = Jobs(tmp_path / "state" / "imports.sqlite")
        await jobs.save(ImportJob(id="old", state="finished", rows=1, created=1))
        kept = b'{"id":"old","state":"finished","rows":1,"created":1}'
        jobs._connection.execute("UPDATE jobs SET document = ? WHERE id = 'old'", (kept,))
        jobs._connection.commit()
        jobs.close()
        (old,) = (await installation.client.get("/v1/imports", ImportPage)).imports
        assert (old.name, old.started_by, old.started_at_us, old.ended_at_us) == ("", "", 0, None)

    story(tmp_path, tell)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=many",
        "limit=",
        "limit=%D9%A3",
        "cursor=x",
        "cursor=-1",
        "cursor=9999999999999999999",
        "before=3",
    ],
)
def test_a_wrong_question_is_refused_and_says_what_is_wrong(tmp_path: Path, query: str) -> None:
    async def tell(installation: Installation) -> None:
        with pytest.raises(HttpError) as refused:
            await installation.client.get(f"/v1/imports?{query}", msgspec.Raw)
        assert refused.value.status == 400
        assert query.partition("=")[0] in str(refused.value)

    story(tmp_path, tell)


def test_nobody_sees_the_list_without_a_token(tmp_path: Path) -> None:
    async def tell(installation: Installation) -> None:
        async with HttpClient(installation.address, f"not {TOKEN}") as stranger:
            with pytest.raises(HttpError) as refused:
                await stranger.get("/v1/imports", ImportPage)
        assert refused.value.status == 401

    story(tmp_path, tell)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("harbour.csv", "harbour.csv"),
        ("..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("C%3A%5Ctemp%5Ccity.csv", "city.csv"),
        ("a%0D%0ASet-Cookie%3A%20x.csv", "aSet-Cookie: x.csv"),
        ("", ""),
        ("x" * 500, "x" * 200),
    ],
)
def test_a_files_name_is_a_name_and_no_place(header: str, expected: str) -> None:
    assert file_name(header) == expected
