"""What the identity component, and the gate of every other one, are told at their start."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

Role = Literal["administrator", "provisioner", "analyst", "controller", "service"]

ALL_TENANTS: Final = "*"
# What a component's own token may do unless it is told less: everything but to manage people.
TOKEN_ROLES: Final[tuple[Role, ...]] = ("provisioner", "analyst", "controller", "service")

_Positive = Annotated[float, msgspec.Meta(gt=0)]


class PasswordCost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What it costs to check a password (argon2id, RFC 9106). The default is OWASP's: 19 ms."""

    time_cost: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    memory_kib: Annotated[int, msgspec.Meta(ge=8, le=4_194_304)] = 19_456
    parallelism: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1


class LockOut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long somebody must wait after wrong passwords; each further one doubles it."""

    failures_free: Annotated[int, msgspec.Meta(ge=1)] = 5
    """Wrong passwords in a row without a wait (NIST SP 800-63B §5.2.2 allows up to 100)."""
    first_s: _Positive = 1.0
    """The wait after the next one."""
    longest_s: _Positive = 900.0
    """The longest wait: nobody can lock another one out for longer."""
    forgotten_s: _Positive = 86_400.0
    """Wrong passwords that lie longer back do not count."""


class AddressBudget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Wrong passwords from one address (of IPv6 one /64), for all names together. Who comes with a
    `known_client` is not asked for it. Own choices: an office behind one address stays below."""

    wrong_free: Annotated[int, msgspec.Meta(ge=1)] = 30
    """Wrong passwords at once."""
    each_s: _Positive = 10.0
    """After so long one more is free."""


class Lifetimes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long what is issued is good, in seconds."""

    access_token_s: _Positive = 600.0
    """An access token. Who is disabled, or loses a role, has it for as long as this at most."""
    refresh_s: _Positive = 43_200.0
    """A session from its sign-in on, however often it was refreshed: a working day."""
    invitation_s: _Positive = 86_400.0
    """The link with which an invited user sets a password."""
    known_client_s: _Positive = 7_776_000.0
    """How long after a sign-in its place is known: nobody elsewhere can lock it out."""
    set_up_s: _Positive = 900.0
    """The first start's link."""
    signing_key_s: _Positive = 2_592_000.0
    """A signing key, then the next one is made; its tokens are good until they expire."""


class ServiceToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token in a file, for a program: who it is and what it may do."""

    name: str
    """Who is named in the audit log: `service:<name>`."""
    file: str
    """File with the token, one line."""
    roles: tuple[Role, ...]
    """What it may do."""
    tenants: tuple[str, ...] = (ALL_TENANTS,)
    """For which tenants."""


class AccessConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may come in at a component's HTTP interface, and where that is written down."""

    issuer: str
    """The `iss` of tokens: the identity component's, or any OIDC issuer's, URL."""
    audience: str = "lamplighter"
    """The `aud` of tokens; of Cognito's access tokens, which have none, the `client_id`."""
    keys_url: str | None = None
    """Where the issuer's keys are; None: asked of `<issuer>/.well-known/openid-configuration`."""
    keys_file: str | None = None
    """File with the keys (JWKS) instead; nothing is fetched."""
    ca_file: str | None = None
    """PEM of who signs the issuer's server certificate; None: the system's."""
    tenant_claim: str = "custom:tenant"
    """The claim that says for which tenant a group without one is (`controller`)."""
    groups_claim: str = "cognito:groups"
    """The claim with the groups: `<tenant>:<role>`, `*:<role>`, or `<role>`."""
    name_claims: tuple[str, ...] = ("username", "cognito:username")
    """Claims of which the first one there is names the person in the audit log; else `sub`. None
    that people can change themselves belongs here."""
    leeway_s: float = 5.0
    """How far the issuer's clock may be off."""
    keys_cached_s: float = 3_600.0
    """After this, keys are fetched again; an unknown key id has them fetched at once."""
    keys_stale_s: float = 86_400.0
    """For how long keys are used that could not be fetched again."""
    keys_pause_s: float = 10.0
    """The least time between two fetches, whatever tokens ask for."""
    service_tokens: tuple[ServiceToken, ...] = ()
    """Programs' tokens, beside the component's own `token_file`."""
    token_roles: tuple[Role, ...] = TOKEN_ROLES
    """What the bearer of the component's own `token_file` may do. Where people and programs have
    tokens of their own, `service` is enough: it is what components need of one another."""
    directory_file: str | None = None
    """Provisioning's device directory, which tells whose a device is. Without it, only who may act
    for every tenant reaches a device."""
    audit_api: str | None = None
    """`host:port` of the audit component; None: acts are kept, and sent once it is known."""
    audit_token_file: str | None = None
    """File with the token for it; None: the component's own."""
    audit_waiting_max: int = 100_000
    """Acts that wait to be sent; beyond it, acts that must be audited are refused with 503."""
    state_dir: str | None = None
    """Folder of the acts that wait; None: acts are not audited by this component."""


class HttpsListen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the interface is served over HTTPS too."""

    host: str
    """Address to listen on."""
    port: int
    """Port to listen on; 0 takes a free one and tells it in the ready line."""
    certificate_file: str
    """PEM file of the certificate, and of those between it and its root."""
    key_file: str
    """PEM file of its private key."""


class IdentityConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Configuration of `city_platform.identity`. It names files with secrets, it holds none."""

    state_dir: str
    """Folder of the users, sessions and signing keys; its owner alone can read it."""
    token_file: str
    """File with the bearer token of the installation's services."""
    http_host: str = "127.0.0.1"
    """Address to listen on."""
    http_port: int = 0
    """Port to listen on; 0 takes a free one and tells it in the ready line."""
    https: HttpsListen | None = None
    """HTTPS beside that: components on other machines fetch keys over nothing less. `public_url` is
    then its URL."""
    public_url: str | None = None
    """The issuer: the URL under which others reach this component. Default: where it listens."""
    set_up_url: str | None = None
    """The page that set-up and invitation links open; default: `<public_url>/set-up`."""
    audience: str = "lamplighter"
    """The `aud` of the tokens."""
    password_length_min: Annotated[int, msgspec.Meta(ge=8)] = 12
    """Characters of a password; there is no other rule (NIST SP 800-63B §5.1.1.2)."""
    sign_ins_waiting_max: int = 64
    """Passwords that wait to be checked; more are answered 503. An eighth of the places is kept for
    addresses from which somebody has signed in, and another for who comes with a `known_client`."""
    sign_ins_waiting_per_address_max: Annotated[int, msgspec.Meta(ge=1)] = 16
    """Of these, from one address without a `known_client`; more are answered 429."""
    address_budget: AddressBudget = AddressBudget()
    """What one address may get wrong."""
    front_token_files: tuple[str, ...] = ()
    """Files with the tokens of programs before this one, as the dashboard: the address that they
    name is the client's. None named: `token_file`. Nobody else's word on an address is taken."""
    users_max: int = 100_000
    """Users at most."""
    password_cost: PasswordCost = PasswordCost()
    """What a password's hash costs."""
    lock_out: LockOut = LockOut()
    """What wrong passwords cost."""
    lifetimes: Lifetimes = Lifetimes()
    """How long what is issued is good."""
    token_roles: tuple[Role, ...] = TOKEN_ROLES
    """What the bearer of `token_file` may do here; see `AccessConfig.token_roles`."""
    audit_api: str | None = None
    """`host:port` of the audit component; None: sign-ins are kept until it is known."""
