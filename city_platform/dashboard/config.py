"""What the dashboard is told at its start."""

from __future__ import annotations

from typing import Annotated

import msgspec

_Positive = Annotated[float, msgspec.Meta(gt=0)]
_Count = Annotated[int, msgspec.Meta(ge=1)]


class Tls(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Certificate chain and key of the pages' own HTTPS (PEM files)."""

    certificate_file: str
    key_file: str


class OidcSignIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An OpenID Connect issuer at which people sign in (authorization code with PKCE)."""

    issuer: str
    """Its URL, as in its tokens' `iss`: https, or http on this machine."""
    client_id: str
    """Under which id the dashboard is known there; `<public_url>/api/sign-in/callback` must be one
    of its redirect addresses."""
    client_secret_file: str | None = None
    """File with the client's secret; None: a public client, which PKCE alone protects."""
    label: str = "your organisation"
    """What the button says: `Sign in with <label>`."""
    scopes: tuple[str, ...] = ("openid",)
    """What is asked for; `offline_access` where the issuer gives refresh tokens only then."""
    audience: str | None = None
    """The `aud` of its access tokens; None: `client_id`, as in Cognito's."""
    ca_file: str | None = None
    """PEM of who signs the issuer's server certificate; None: the system's."""
    tenant_claim: str = "custom:tenant"
    """As in every component's `access`."""
    groups_claim: str = "cognito:groups"
    """Likewise."""
    name_claims: tuple[str, ...] = ("username", "cognito:username")
    """Likewise."""


class DashboardLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of what browsers may ask. Own choices, for a city of 10,000 to 100,000 devices."""

    body_bytes_max: _Count = 1_048_576
    """A request's body, but a manifest's."""
    manifest_bytes_max: _Count = 1_073_741_824
    """A manifest; provisioning's own limit may be lower, and then it is provisioning's answer."""
    answer_within_s: _Positive = 30.0
    """How long a component may take before the next piece of its answer."""
    requests_max: _Count = 64
    """Requests to one component at one time; more wait, for `answer_within_s` at most."""
    sessions_max: _Count = 1_000
    """Sessions; a further sign-in ends the one that began first."""
    live_max: _Count = 200
    """Open live feeds."""
    live_per_session_max: _Count = 8
    """Open live feeds of one session."""
    live_gap_s: _Positive = 0.1
    """The least time between two messages of a live feed."""
    live_devices_max: _Count = 5_000
    """Changed devices in one message; a page that is further behind is told to load anew."""
    devices_max: _Count = 200_000
    """Devices on the map, and devices whose state is kept in memory (about 1 KB each)."""
    paths_max: _Count = 200
    """Paths of one device whose latest value is kept."""
    devices_cached_s: _Positive = 5.0
    """For how long the devices of a tenant are remembered between two maps; a page that has changed
    them asks for them anew."""


class DashboardConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Configuration of `city_platform.dashboard`. It names files with secrets, it holds none."""

    identity: str | None = None
    """`host:port` of the identity component: who signs in here signs in there. None: there is none,
    and `oidc` is needed."""
    oidc: OidcSignIn | None = None
    """Another issuer at which people sign in, instead of or beside passwords."""
    state_dir: str
    """Folder of sessions, sealed with what only the browser has."""
    token_file: str
    """File with the dashboard's own token, which its `/v1/counts` asks for."""
    changes_token_file: str | None = None
    """File with the token with which it follows ingestion's changes (role analyst); read anew each
    time. None: `token_file`."""
    commands_token_file: str | None = None
    """Likewise control's commands (role controller)."""
    identity_token_file: str | None = None
    """File with one of the tokens of identity's `front_token_files`: it shows identity that the
    dashboard itself names the address of who signs in. None: `token_file`."""
    provisioning: str | None = None
    """`host:port` of the component; None: its pages are not shown."""
    control: str | None = None
    """Likewise."""
    ingestion: str | None = None
    """Likewise."""
    audit: str | None = None
    """Likewise."""
    directory_file: str | None = None
    """Provisioning's device directory: open maps are told from it who came and who went. None: they
    learn it when they are loaded anew."""
    http_host: str = "127.0.0.1"
    """Address to listen on. Sessions are cookies: anything but loopback needs `tls`, or a gate
    with TLS before it and `public_url`."""
    http_port: int = 0
    """Port to listen on; 0 takes a free one and tells it in the ready line."""
    tls: Tls | None = None
    """HTTPS; None: HTTP."""
    public_url: str | None = None
    """The URL that people open, where a gate is before the dashboard; with `https` cookies are
    marked Secure. None: whatever the browser asked for."""
    web_dir: str | None = None
    """Folder of the built pages; None: the package's own, made by `make dashboard`."""
    city_file: str | None = None
    """GeoJSON to draw under the devices; None: nothing is drawn."""
    session_s: _Positive = 43_200.0
    """A session from its sign-in on; identity's `refresh_s` ends it earlier when that is less."""
    limits: DashboardLimits = DashboardLimits()
    """Bounds."""
