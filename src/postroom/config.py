"""The settings of an installation, read from the environment once, at the doors. This is the one list of them:
names, defaults, `postroom check` and docs/operations.md come from here.
"""

from __future__ import annotations

import difflib
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta, Struct, field

from postroom.errors import InvalidInput

PREFIX = "POSTROOM_"
LOCAL_HOME = ".postroom"  # where every home was by default once: in the directory of the start
SYSTEM_HOME = Path("/var/lib/postroom/home")
NEAR, VERY_NEAR = 0.7, 0.85  # of difflib's ratio
CHECKOUT = Path(__file__).parents[2]  # where this is one
SECRETS = frozenset({"database_url", "secret_key"})


class Settings(Struct, frozen=True, kw_only=True):
    """Each field is an environment variable with the prefix POSTROOM_. Secrets do not show in its repr.

    msgspec and not pydantic-settings, because every worker process would carry pydantic's 11 MB for these few lines.
    """

    database_url: Annotated[str | None, Meta(
        description="PostgreSQL 15 or newer, postgresql://user:password@host:5432/database. "
                    "Without it Postroom runs a PostgreSQL of its own under POSTROOM_HOME.")] = None
    unsafe_database: Annotated[bool, Meta(
        description="Accepts a database that may forget what it committed (fsync or full_page_writes off). "
                    "For tests only.")] = False
    home: Annotated[Path, Meta(
        description="Where the embedded database, its password, the generated secret key, and the journals of this machine's "
                    "workers are kept: a directory on a local disk, the same for every process here. By default an existing "
                    ".postroom here or in the checkout, else postroom in XDG_DATA_HOME or ~/.local/share; for root "
                    "/var/lib/postroom/home.")] = field(default_factory=lambda: find_home(_without_home(os.environ)).path)
    user: Annotated[str, Meta(
        description="As whom the embedded database, the web process and the workers run where root starts them; the owner of "
                    "existing data goes before. `postroom` is made if it is missing; with `root` web and workers stay root.",
    )] = "postroom"
    secret_key: Annotated[str | None, Meta(
        description="Seals gateway passwords and DKIM keys. Without it one is generated under POSTROOM_HOME. "
                    "Every machine of an installation needs the same.")] = None
    base_url: Annotated[str | None, Meta(
        description="The address under which people reach the pages, and recipients the page to unsubscribe at; by default "
                    "http://HOST:PORT of `serve`, and no such page in messages.")] = None
    host: Annotated[str, Meta(description="Where `serve` listens.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="The port of `serve`.")] = 8025
    workers: Annotated[int, Meta(ge=0, le=64, description="Worker processes that `serve` starts.")] = 1
    concurrency: Annotated[int, Meta(ge=1, le=100, description="SMTP sessions of one worker process, at most.")] = 20
    helo_name: Annotated[str, Meta(
        description="The name that workers give themselves at EHLO; by default the machine's own.")] = field(
            default_factory=lambda: socket.gethostname() or "localhost")
    allow_plaintext: Annotated[bool, Meta(
        description="Lets gateways beyond this machine be used without TLS. Passwords are never sent that way.")] = False
    allowed_networks: Annotated[str | None, Meta(
        description="Networks beside the Internet in which gateways may stand, at any port: 127.0.0.0/8,10.1.0.0/16, say. "
                    "Without it gateways must have public addresses and the ports 25, 465, 587, 2525, 2465 or 2587.")] = None
    lease_s: Annotated[float, Meta(
        ge=1, description="Seconds after which a worker that is no longer heard of loses its chunk.")] = 30.0
    retry_base_s: Annotated[float, Meta(
        gt=0, description="Seconds of the first backoff after a temporary refusal; it doubles with each.")] = 5.0
    gateway_give_up_s: Annotated[float, Meta(
        gt=0, description="Seconds after which a job whose gateway cannot be used becomes failed, its unsent intact.")] = 86_400.0
    upload_max_mb: Annotated[int, Meta(
        ge=1, description="The largest request that creates a job, in MiB; its list is spooled to disk, "
                          "not held in memory.")] = 1_024

    def __repr__(self) -> str:
        shown = (f"{name}={'***' if name in SECRETS and value else repr(value)}"
                 for name, value in msgspec.structs.asdict(self).items())
        return f"Settings({', '.join(shown)})"

    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """`allowed_networks`, read. Raises InvalidInput."""
        networks = []
        for text in filter(None, map(str.strip, (self.allowed_networks or "").split(","))):
            try:
                networks.append(ip_network(text))
            except ValueError as error:
                name = variable("allowed_networks")
                raise InvalidInput(f"{name} is not valid: {error}. Write networks as 127.0.0.0/8, with commas between them.",
                                   field=name) from None
        return tuple(networks)

    def environment(self) -> dict[str, str]:
        """The variables that give another process of ours these very settings."""
        return {variable(name): str(value).lower() if isinstance(value, bool) else str(value)
                for name, value in msgspec.structs.asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, described. `default` is as people would write it, "" for none."""

    name: str
    variable: str
    default: str
    description: str


def variable(name: str) -> str:
    return PREFIX + name.upper()


def described() -> Iterator[Setting]:
    """Every setting, in the order of the class."""
    hints = get_type_hints(Settings, include_extras=True)
    for one in msgspec.structs.fields(Settings):
        meta = next(part for part in hints[one.name].__metadata__ if isinstance(part, Meta))
        default = "" if one.default in (msgspec.NODEFAULT, None) else str(one.default)
        yield Setting(one.name, variable(one.name), default, meta.description or "")


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """An empty variable counts as unset. Raises InvalidInput that names the variable and what is wrong with it."""
    given = {name: environ[variable(name)] for name in Settings.__struct_fields__ if environ.get(variable(name))}
    home = {"home": str(find_home(environ).path)}
    for name, text in given.items():
        try:
            msgspec.convert(home | {name: text}, Settings, strict=False, dec_hook=_path)
        except msgspec.ValidationError as error:
            shown = "" if name in SECRETS else f' "{text}"'
            told = str(error).split(" - at ")[0].split(", got ")[0].replace("`", "")
            raise InvalidInput(f"{variable(name)}{shown} is not valid: {told.lower()}.", field=variable(name)) from None
    settings = msgspec.convert(home | given, Settings, strict=False, dec_hook=_path)
    settings.networks()
    return settings


def misspelt(environ: Mapping[str, str] = os.environ) -> list[str]:
    """A sentence on each variable that looks like a setting and is none, by its beginning or as a whole."""
    told, settings = [], [variable(name) for name in Settings.__struct_fields__]
    for name in sorted(environ.keys() - set(settings)):
        begins, _, rest = name.upper().partition("_")
        is_ours = bool(difflib.get_close_matches(begins, [PREFIX.rstrip("_")], 1, VERY_NEAR))
        near = [variable(one) for one in difflib.get_close_matches(rest.lower(), Settings.__struct_fields__, 1, NEAR)
                ] if is_ours else difflib.get_close_matches(name.upper(), settings, 1, VERY_NEAR)
        if is_ours or near or begins.startswith(PREFIX.rstrip("_")):
            hint = f"Is {near[0]} meant?" if near else "postroom settings lists those that there are."
            told.append(f"{name} is no setting, and does nothing. {hint}")
    return told


@dataclass(frozen=True, slots=True)
class Home:
    """The directory of this installation, and why it is that one. `others` exist too, and are not used."""

    path: Path
    because: str
    others: tuple[Path, ...] = ()


def find_home(environ: Mapping[str, str] = os.environ) -> Home:
    """What POSTROOM_HOME says; else the first that exists of .postroom here and in the checkout; else the user's own.

    Raises InvalidInput where the user has no home directory and nothing says where else.
    """
    if named := environ.get(variable("home")):
        return Home(Path(named), f"{variable('home')} says so")
    found = {path: because for path, because in (
        (Path(LOCAL_HOME), "it is in the directory of this start"),
        (CHECKOUT / LOCAL_HOME, "it is in the checkout"),
    ) if _is_directory(path)}
    used = [Home(path.absolute(), because) for path, because in found.items() if _is_ours(path)]
    try:
        used.append(Home(_users_home(environ), "it is where this user's data is kept"))
    except InvalidInput:
        if not used:
            raise
    exist = dict.fromkeys([*(path.absolute() for path in found), *(home.path for home in used if _is_directory(home.path))])
    return replace(used[0], others=tuple(other for other in exist if other != used[0].path))


def _without_home(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name != variable("home")}


def _users_home(environ: Mapping[str, str]) -> Path:
    """By the XDG Base Directory Specification, in which a relative path counts for nothing. Root's is where the user that it
    drops to can enter it."""
    data = Path(environ.get("XDG_DATA_HOME", ""))
    if data.is_absolute():
        return data / "postroom"
    if os.geteuid() == 0:
        return SYSTEM_HOME
    try:
        return Path.home() / ".local" / "share" / "postroom"
    except RuntimeError:
        raise InvalidInput(f"This user has no home directory, so there is no place for Postroom's data: set {variable('home')}.",
                           field=variable("home")) from None


def _is_directory(home: Path) -> bool:
    try:
        return home.is_dir()
    except OSError:
        return False  # this user may not even look


def _is_ours(home: Path) -> bool:
    """Not one that somebody else has left in our way; root takes anybody's, but none from a directory that all may write."""
    owner, around = home.stat().st_uid, home.parent.stat().st_mode
    return owner == os.geteuid() or (os.geteuid() == 0 and not around & stat.S_IWOTH)


def _path(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(kind)


def as_markdown() -> str:
    """The table of docs/operations.md."""
    rows = (f"| `{one.variable}` | {f'`{one.default}`' if one.default else ''} | {one.description} |" for one in described())
    return "\n".join(["| Variable | Default | |", "|---|---|---|", *rows])
