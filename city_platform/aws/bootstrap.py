"""The bootstrap handler on Lambda: `city_platform.bootstrap.handle` with S3 and DynamoDB behind it.

| pk of the things table | sk | what |
|---|---|---|
| `confirmed` | endpoint | the version of the credentials that the device was seen to have |
| `holder` | endpoint | which server holds it |
| `pending` | endpoint | the registration whose credentials are on their way, and since when |

Until the server's `bootstrap` event confirms them, `drive` (every minute) sends them again.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any, Final

from city_platform.aws.envelopes import Published
from city_platform.aws.installation import Installation
from city_platform.bootstrap.decision import Ignore
from city_platform.bootstrap.handler import Message, handle
from city_platform.endpoint_topics import read_event_topic
from city_platform.sealing import sealer
from city_platform.stores.aws.calls import gathered
from city_platform.stores.aws.tables import Item
from city_platform.stores.object_store import credentials_name
from contracts.data_interface import Event, decode_event
from contracts.errors import ContractError
from contracts.names import service_identity

DRIVES_MAX: Final = 10
DRIVEN_AT_ONCE: Final = 200


async def answer_event(published: Published, installation: Installation) -> dict[str, Any]:
    """Answer one message of an event topic; what is done twice changes nothing."""
    told = read_event_topic(installation.topics.event, published.topic)
    try:
        event = decode_event(published.payload)
    except ContractError:
        return {"ignored": "malformed"}
    if told is None or (told.server, told.endpoint) != (event.server, event.endpoint):
        return {"ignored": "claims_another_device"}
    if event.kind == "bootstrap":
        return await _confirm(event, installation)
    if event.kind == "registered":
        await _hold(event, installation)
        return await _send(published, event, installation, 0)
    return {"ignored": "not_a_registration"}


async def drive(installation: Installation) -> dict[str, Any]:
    """Send again what was not confirmed; after some tries the next registration is waited for."""
    pending = await installation.things.query("pending", limit=DRIVEN_AT_ONCE)
    sent = await gathered([_drive(item, installation) for item in pending])
    return {"driven": sum(sent), "pending": len(pending)}


async def _drive(item: Item, installation: Installation) -> bool:
    tries = item["tries"]
    if not isinstance(tries, int) or tries >= DRIVES_MAX:
        await installation.things.delete_many([("pending", str(item["sk"]))])
        return False
    published = Published(str(item["topic"]), b64decode(str(item["payload"])), 0)
    answer = await _send(published, decode_event(published.payload), installation, tries)
    if "ignored" in answer:
        await installation.things.delete_many([("pending", str(item["sk"]))])
    return "sent" in answer


async def _send(
    published: Published, event: Event, installation: Installation, tries: int
) -> dict[str, Any]:
    answer = await _answer(published, event, installation)
    if isinstance(answer, Ignore):
        return {"ignored": answer.reason}
    await installation.things.put_many(
        [
            {
                "pk": "pending",
                "sk": event.endpoint,
                "topic": published.topic,
                "payload": b64encode(published.payload).decode(),
                "version": answer.sends.version,
                "tries": tries + 1,
            }
        ]
    )
    await installation.publish(answer.topic, answer.payload)
    return {"sent": event.endpoint}


async def _answer(
    published: Published, event: Event, installation: Installation
) -> Message | Ignore:
    endpoint = event.endpoint
    certificate = f"pki/{service_identity('bridge', event.server).replace(':', '_')}.pem"
    document, bridge = await installation.objects.get_many(
        [credentials_name(endpoint), certificate]
    )
    confirmed = await installation.things.get("confirmed", endpoint)
    return handle(
        published.topic,
        published.payload,
        document=document,
        seal_for=lambda server: None if bridge is None else sealer(bridge),
        topics=installation.topics,
        confirmed_version=None if confirmed is None else str(confirmed["version"]),
        is_known=await installation.thing(endpoint) is not None,
        nosec_allowed=installation.environment.nosec_allowed,
    )


async def _confirm(event: Event, installation: Installation) -> dict[str, Any]:
    if event.completed is None:
        return {"ignored": "malformed"}
    version = event.completed.version
    await installation.things.put_many(
        [{"pk": "confirmed", "sk": event.endpoint, "version": version}]
    )
    pending = await installation.things.get("pending", event.endpoint)
    if pending is not None and pending["version"] == version:
        await installation.things.delete_many([("pending", event.endpoint)])
    return {"confirmed": event.endpoint}


async def _hold(event: Event, installation: Installation) -> None:
    registration = event.registration
    if registration is not None:
        await installation.things.put_many(
            [
                {
                    "pk": "holder",
                    "sk": event.endpoint,
                    "server": event.server,
                    "epoch": event.epoch,
                    "registration_id": registration.registration_id,
                }
            ]
        )
