"""A small server with the dashboard's interface and a made-up city, to try the pages by themselves.

`python fixture_server.py DIST DEVICES CHANGES_PER_S` prints its address and serves until it is
ended. Users: `maria` may do everything, `anna` is an analyst, `root` an administrator; their
password is `correct horse battery`. It stands in for the server in these tests only.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from fixture_answers import alarm, certificate, group, row_errors
from fixture_city import LAMP_RESOURCES, NOW_US, WRITABLE, city_columns
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "font-src 'self'; worker-src 'self' blob:; connect-src 'self'; manifest-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PASSWORD = "correct horse battery"
HOSTILE_LAMP, HOSTILE_MANUFACTURER = "lamp-00002", "<b>Merrow & Sons</b>"
MESSAGES_PER_S = 10
READ = ["search_devices", "view_map", "view_components", "view_bridges", "read_bridges"]
ANALYST = [*READ, "read_readings", "read_alarms", "list_alarms"]
USERS = {
    "anna": ["analyst", ANALYST],
    "root": ["administrator", ["search_audit", "list_users", "create_user", "change_user"]],
    "maria": [
        "controller",
        [
            *ANALYST,
            "acknowledge_alarm",
            "issue_command",
            "read_command",
            "cancel_command",
            "issue_group_command",
            "import_manifest",
            "search_audit",
            "remove_device",
            "replace_certificate",
            "revoke_certificate",
            "list_certificates",
        ],
    ],
}


class FixtureCity:
    """The state behind the routes: one city, whoever is signed in, what was asked."""

    def __init__(self, dist: Path, devices: int, changes_per_s: int) -> None:
        self.dist = dist
        self.columns = city_columns(devices)
        self.changes_per_s = changes_per_s
        self.body = gzip.compress(json.dumps(self.columns).encode(), 1)
        self.commands: list[dict[str, Any]] = []
        self.polls = 0
        self.level = 80
        self.news: list[asyncio.Queue[str]] = []
        self.acknowledged: set[int] = set()

    def routes(self) -> list[Route]:
        """All that the pages ask for."""
        control, telemetry = "/api/control/v1", "/api/telemetry/v1"
        return [
            Route("/api/session", self.session, methods=["GET", "POST", "DELETE"]),
            Route("/api/set-up", self.nothing, methods=["POST"]),
            Route("/api/map", self.map),
            Route("/live", self.live),
            Route("/api/devices", self.search),
            Route("/api/devices/{endpoint}", self.device),
            Route("/api/models", self.models),
            Route("/api/imports/check", self.check, methods=["POST"]),
            Route("/api/provisioning/v1/imports", self.upload, methods=["POST"]),
            Route("/api/provisioning/v1/imports", self.imports),
            Route("/api/provisioning/v1/imports/{id}", self.job),
            Route("/api/provisioning/v1/imports/{id}/errors", self.errors),
            Route("/api/bridges", self.bridges),
            Route("/api/components", self.components),
            Route(control + "/devices/{endpoint}/commands", self.command, methods=["POST"]),
            Route(control + "/commands", self.command_list, methods=["GET"]),
            Route(control + "/commands", self.group_command, methods=["POST"]),
            Route(control + "/commands/{id}", self.one_command),
            Route(control + "/group-commands", self.group_list),
            Route(control + "/group-commands/{id}", self.group),
            Route(control + "/group-commands/{id}/commands", self.command_list),
            Route(telemetry + "/devices/{endpoint}/readings", self.readings),
            Route(telemetry + "/alarms", self.alarms),
            Route(telemetry + "/alarms/{id}/acknowledge", self.acknowledge, methods=["POST"]),
            Route("/api/audit/v1/audit", self.audit),
            Route("/api/identity/v1/users", self.users),
            Route("/api/{rest:path}", self.missing, methods=["GET", "POST"]),
            Route("/{path:path}", self.page),
        ]

    async def session(self, request: Request) -> Response:
        name = request.cookies.get("session", "")
        if request.method == "DELETE":
            answer: Response = Response(status_code=204)
            answer.delete_cookie("session")
            return answer
        if request.method == "POST":
            given = await request.json()
            name = given["username"] if given["password"] == PASSWORD else ""
        if name not in USERS:
            return _problem(401, "wrong name or password")
        role, operations = USERS[name]
        answer = JSONResponse(
            {
                "name": name,
                "grants": [{"tenant": "*", "role": role}],
                "operations": operations,
                "tenants": None,
                "csrf": f"csrf-{name}",
                "ends_at_us": NOW_US + 8 * 3600 * 1_000_000,
                "bridges": 2,
                "has": {},
            }
        )
        answer.set_cookie("session", name, httponly=True, samesite="strict")
        return answer

    async def nothing(self, request: Request) -> Response:
        return Response(status_code=204)

    async def missing(self, request: Request) -> Response:
        return _problem(404, "not found", "there is no such address")

    async def map(self, request: Request) -> Response:
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        return Response(self.body, headers=headers)

    async def live(self, request: Request) -> Response:
        return StreamingResponse(self._follow(), media_type="text/event-stream")

    async def _follow(self) -> AsyncIterator[str]:
        chance, revision = random.Random(3), 1
        mine: asyncio.Queue[str] = asyncio.Queue(1000)
        self.news.append(mine)
        yield _event("hello", {"epoch": self.columns["epoch"], "revision": revision})
        yield _event("source", {"telemetry": "connected"})
        while True:
            # The pace of the real feed, which is what the pages are tried against.
            await asyncio.sleep(1 / MESSAGES_PER_S)
            while not mine.empty():
                yield mine.get_nowait()
            if not self.changes_per_s:
                continue
            revision += 1
            picked = chance.sample(self.columns["endpoint"], self.changes_per_s // MESSAGES_PER_S)
            devices = [
                {
                    "endpoint": one,
                    "at_us": NOW_US + revision,
                    "presence": chance.choice(["online", "online", "offline"]),
                    "alarm": chance.choice(["none", "none", "warning", "critical"]),
                }
                for one in picked
            ]
            yield _event("changes", {"revision": revision, "devices": devices})

    def _found(self, index: int) -> dict[str, Any]:
        columns = self.columns
        return {
            "endpoint": columns["endpoint"][index],
            "tenant": "port_of_merrow",
            "site": "harbour_district",
            "group": "",
            "model": columns["models"][columns["model"][index]],
            "serial": f"SL2205-{index:06d}",
            "street": columns["streets"][columns["street"][index]],
            "latitude": columns["latitude"][index],
            "longitude": columns["longitude"][index],
            "installed_on": "2024-05-05",
            "attributes": {"pole": f"{index:05d}", "height_m": "10"},
            "presence": ["unknown", "offline", "online"][columns["presence"][index]],
            "alarm": ["none", "warning", "critical"][columns["alarm"][index]],
            "at_us": columns["at_us"][index],
        }

    async def search(self, request: Request) -> Response:
        asked = request.query_params
        limit, start = int(asked.get("limit", 100)), int(asked.get("cursor", 0))
        box = [float(one) for one in asked["box"].split(",")] if "box" in asked else None
        found = []
        for index in range(self.columns["count"]):
            one = self._found(index)
            if asked.get("model", one["model"]) != one["model"]:
                continue
            text = f"{one['endpoint']} {one['street']} {one['serial']}".lower()
            if asked.get("text", "").lower() not in text:
                continue
            if box and not (
                box[0] <= one["latitude"] <= box[2] and box[1] <= one["longitude"] <= box[3]
            ):
                continue
            found.append(one)
        cursor = str(start + limit) if len(found) > start + limit else None
        return JSONResponse({"devices": found[start : start + limit], "next_cursor": cursor})

    async def device(self, request: Request) -> Response:
        endpoint = request.path_params["endpoint"]
        if endpoint not in self.columns["endpoint"]:
            return _problem(404, "no such device", f"{endpoint!r} is not provisioned")
        one = self._found(self.columns["endpoint"].index(endpoint))
        operations = USERS[request.cookies["session"]][1]
        state = {name: one.pop(name) for name in ("presence", "alarm", "at_us")}
        resources = [{**row, "at_us": NOW_US} for row in LAMP_RESOURCES]
        resources[0].update(value=self.level / 100, shown=self.level)
        if endpoint == HOSTILE_LAMP:
            resources[4].update(value=HOSTILE_MANUFACTURER)
        may_command = "issue_command" in operations
        return JSONResponse(
            {
                "device": {
                    **one,
                    "thing": endpoint,
                    "groups": [],
                    "policy": "p",
                    "credentials_version": "ab",
                    "psk_identity": "x",
                },
                "may": operations,
                "state": state,
                "resources": resources,
                "writable": WRITABLE,
                "alarms": {"alarms": [alarm(1, endpoint)]},
                "commands": self.commands if may_command else None,
                "certificates": [certificate(endpoint)]
                if "list_certificates" in operations
                else None,
                "problems": [],
            }
        )

    async def models(self, request: Request) -> Response:
        command = {
            "name": "Command",
            "type": "integer",
            "operations": "RW",
            "unit": "/100",
            "range": "0..100",
        }
        return JSONResponse(
            {"objects": {"3416": {"name": "Outdoor lamp controller", "resources": {"1": command}}}}
        )

    async def imports(self, request: Request) -> Response:
        limit, job = int(request.query_params["limit"]), self._job()
        names = [(f"job-{number}", f"delivery_{number}.csv") for number in range(80, 1, -1)]
        jobs = [
            job,
            *({**job, "id": each, "state": "finished", "name": name} for each, name in names),
        ]
        cursor = str(limit) if len(jobs) > limit else None
        return JSONResponse({"imports": jobs[:limit], "next_cursor": cursor})

    def _job(self) -> dict[str, Any]:
        done = min(1200, self.polls * 400)
        state = "finished" if done == 1200 else "running"
        return {
            "id": "job1",
            "state": state,
            "rows": done,
            "created": max(0, done - 12),
            "updated": 0,
            "unchanged": 0,
            "rejected": min(done, 12),
            "reason": None,
            "name": "harbour_district.csv",
            "started_by": "maria",
            "started_at_us": NOW_US,
            "ended_at_us": NOW_US + 900_000 if done == 1200 else None,
        }

    async def upload(self, request: Request) -> Response:
        if request.headers.get("X-CSRF-Token") != f"csrf-{request.cookies.get('session')}":
            return _problem(403, "csrf token missing", "send X-CSRF-Token")
        await request.body()
        self.polls = 0
        return JSONResponse(self._job(), 202)

    async def job(self, request: Request) -> Response:
        self.polls += 1
        return JSONResponse(self._job())

    async def check(self, request: Request) -> Response:
        await request.body()
        return JSONResponse(
            {
                "rows": 1200,
                "good": 1188,
                "rejected": 12,
                "is_whole": True,
                "reason": None,
                "models": {"street_lamp": 800, "parking_spot": 388},
                "tenants": {"port_of_merrow": 1188},
                "errors": row_errors(),
            }
        )

    async def errors(self, request: Request) -> Response:
        return JSONResponse({"errors": row_errors(), "next_after": None})

    async def bridges(self, request: Request) -> Response:
        rows = [
            {
                "name": f"bridge-{number}",
                "state": "up" if number < 3 else "lost",
                "since_us": NOW_US,
                "detail": "",
                "counts": {
                    "events_published": 48_210,
                    "commands_passed": 912,
                    "devices_held": 3_333,
                },
                "rates": {"events_published": 61.5 / number, "commands_passed": 2.5},
            }
            for number in (1, 2, 3)
        ]
        rows[2].update(rates={}, detail="its connection to the broker ended without a good-bye")
        return JSONResponse({"bridges": rows})

    async def components(self, request: Request) -> Response:
        names = ("provisioning", "control", "ingestion", "audit", "identity")
        return JSONResponse(
            {"components": [{"name": name, "state": "ready", "detail": ""} for name in names]}
        )

    async def command(self, request: Request) -> Response:
        if request.headers.get("X-CSRF-Token") != f"csrf-{request.cookies.get('session')}":
            return _problem(403, "csrf token missing", "send X-CSRF-Token")
        body = await request.json()
        record = {
            "id": f"cmd-{len(self.commands) + 1}",
            "endpoint": request.path_params["endpoint"],
            "operation": body["operation"],
            "path": body["path"],
            "state": "sent",
            "issued_at_us": NOW_US + len(self.commands),
            "expires_at_us": NOW_US + 60_000_000,
            "issued_by": "maria",
        }
        ended = {
            **record,
            "state": "succeeded",
            "outcome": {"id": record["id"], "operation": body["operation"], "code": "2.04"},
        }
        self.commands.insert(0, ended)
        self._tell("commands", {"commands": [ended]})
        if body["operation"] == "write":
            self.level = body["values"][0]["value"]
            news = {
                "endpoint": record["endpoint"],
                "at_us": NOW_US + 1,
                "values": {"3416/0/3": self.level / 100},
            }
            self._tell("changes", {"revision": 1_000_000 + len(self.commands), "devices": [news]})
        return JSONResponse(record, 202)

    def _tell(self, name: str, data: object) -> None:
        for one in self.news:
            one.put_nowait(_event(name, data))

    async def one_command(self, request: Request) -> Response:
        return JSONResponse(
            next(one for one in self.commands if one["id"] == request.path_params["id"])
        )

    async def command_list(self, request: Request) -> Response:
        return JSONResponse({"commands": self.commands, "next_cursor": None})

    async def group_command(self, request: Request) -> Response:
        return JSONResponse(group(), 202)

    async def group(self, request: Request) -> Response:
        return JSONResponse(group())

    async def group_list(self, request: Request) -> Response:
        return JSONResponse({"group_commands": [group()], "next_cursor": None})

    async def readings(self, request: Request) -> Response:
        path, chance, level, rows = request.query_params["path"], random.Random(5), 0.7, []
        start = int(request.query_params["from_us"])
        for number in range(240):
            level = min(1.0, max(0.1, level + chance.uniform(-0.05, 0.05)))
            rows.append(
                [
                    request.path_params["endpoint"],
                    path,
                    start + number * 15_000_000,
                    round(level, 3),
                ]
            )
        return JSONResponse({"readings": rows[::-1]})

    async def alarms(self, request: Request) -> Response:
        rows = [alarm(number, f"lamp-{number:05d}") for number in range(1, 40)]
        for one in rows:
            if one["id"] in self.acknowledged:
                one.update(state="acknowledged", acknowledged_us=NOW_US, acknowledged_by="maria")
        return JSONResponse({"alarms": rows, "next_before": None})

    async def acknowledge(self, request: Request) -> Response:
        self.acknowledged.add(int(request.path_params["id"]))
        return JSONResponse({})

    async def audit(self, request: Request) -> Response:
        device = request.query_params.get("device", "")
        entries = [
            {
                "sequence": 900 - number,
                "hash": "ab" * 32,
                "attributed_to": "maria",
                "entry": {
                    "id": str(number),
                    "at_us": NOW_US - number * 40_000_000,
                    "operation": ("issue_command", "import_manifest", "sign_in")[number % 3],
                    "outcome": ("succeeded", "refused", "denied", "published")[number % 4],
                    "source": "control",
                    "who": "maria",
                    "tenant": "",
                    "device": device or "lamp-00001",
                    "reference": f"cmd-{number}",
                    "detail": "write /3416/0/1",
                },
            }
            for number in range(12)
        ]
        return JSONResponse({"entries": entries, "next_before": 880})

    async def users(self, request: Request) -> Response:
        rows = [
            {
                "username": name,
                "state": "enabled",
                "grants": [{"tenant": "*", "role": role}],
                "created_at_us": NOW_US,
                "created_by": "",
                "sign_in": "clear",
                "locked_until_us": 0,
            }
            for name, (role, _) in USERS.items()
        ]
        return JSONResponse({"users": rows, "next_after": None})

    async def page(self, request: Request) -> Response:
        file = self.dist / request.path_params["path"]
        is_file = file.is_file() and self.dist in file.resolve().parents
        answer = FileResponse(file if is_file else self.dist / "index.html")
        answer.headers["Content-Security-Policy"] = CSP
        return answer


def _problem(status: int, title: str, detail: str = "") -> Response:
    body = {"type": "about:blank", "status": status, "title": title, "detail": detail}
    return JSONResponse(body, status, media_type="application/problem+json")


def _event(name: str, data: object) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def main() -> None:
    dist, devices, changes_per_s = Path(sys.argv[1]).resolve(), int(sys.argv[2]), int(sys.argv[3])
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    # Before its address is told: who is early waits for the server instead of being refused.
    listener.listen(128)
    sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    city = FixtureCity(dist, devices, changes_per_s)
    # A stream that is compressed waits: only the rest is.
    app = Starlette(
        routes=city.routes(), middleware=[Middleware(GZipMiddleware, minimum_size=2000)]
    )
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    asyncio.run(server.serve(sockets=[listener]))


if __name__ == "__main__":
    main()
