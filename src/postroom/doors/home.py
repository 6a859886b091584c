"""Where this installation is kept, as it is told at a start and looked at by `postroom check`: which directory and why, whose it
is, whether it can be used, and how much room it has. Changes nothing.
"""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

from postroom.config import Home, Settings
from postroom.domain.checking import Finding, Level

ROOM_LOW, ROOM_GONE = 1_000_000_000, 100_000_000  # bytes: a day's sending of a small installation, and less than one start takes


def told(home: Home) -> str:
    """Which one it is, why, and which others there are: whoever has two by mistake is told at each start."""
    others = "".join(f" {other} exists too and is not used: POSTROOM_HOME chooses." for other in home.others)
    return f"Home: {home.path.absolute()} ({home.because}).{others}"


def check_home(settings: Settings, home: Home) -> list[Finding]:
    """`home` is how that of the settings was found."""
    path = settings.home.absolute()
    findings = [_directory(path, home.because)]
    findings += [Finding(Level.WARNING, "home", f"{other} exists too and is not used. If it is the one that you mean, set "
                         f"POSTROOM_HOME={other}.") for other in home.others]
    # What the database writes may be on another disk, where `pgdata` leads to one.
    places = {str(place): shutil.disk_usage(place).free for place in map(_existing, (path, path / "pgdata")) if place.exists()}
    return findings + [finding for place, free in places.items() if (finding := _room(place, free))]


def _directory(path: Path, because: str) -> Finding:
    found = _existing(path)
    owner = owner_of(found)
    me = owner_name(os.geteuid())
    if not found.is_dir():
        return Finding(Level.ERROR, "home", f"{found} is no directory, so nothing can be kept in {path}. Set POSTROOM_HOME.")
    if not os.access(found, os.R_OK | os.W_OK | os.X_OK):
        told = f"it belongs to {owner}" if found == path else f"it cannot be made, as {found} belongs to {owner}"
        return Finding(Level.ERROR, "home", f"{path} ({because}): {told}, and {me} may not write there. Run Postroom as {owner}, "
                       "or set POSTROOM_HOME.")
    if found != path:
        return Finding(Level.OK, "home", f"{path} ({because}); it is made at the first start.")
    free = shutil.disk_usage(path).free
    return Finding(Level.OK, "home", f"{path} ({because}). It belongs to {owner}; {size(free)} are free.")


def _room(place: str, free: int) -> Finding | None:
    if free >= ROOM_LOW:
        return None
    level = Level.ERROR if free < ROOM_GONE else Level.WARNING
    return Finding(level, "home", f"Only {size(free)} are free in {place}. Without room nothing is sent: make some.")


def size(octets: int) -> str:
    return f"{octets / 1e9:,.1f} GB" if octets >= 1e9 else f"{octets / 1e6:,.0f} MB"


def _existing(path: Path) -> Path:
    """The path, or the nearest above it that exists."""
    path = Path(os.path.realpath(path))
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def owner_of(path: Path) -> str:
    return owner_name(path.stat().st_uid)


def owner_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
