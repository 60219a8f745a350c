# ruff: noqa: ASYNC240 - a test may block
"""Mirrors in files: a file is replaced by a complete new one, or not at all."""

import asyncio
import errno
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connector_async.sync.exceptions import SourceError
from connector_async.sync.formats import FileFormat, Mirror, file_mirror, file_source
from connector_async.sync.records import SourceRecord
from tests.support.limits import largest_file
from tests.support.sync_files import FORMATS, read, record, write


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """Return a mirror with one record, in the format that has both a header and a footer."""
    path = tmp_path / "mirror.ics"
    await write(file_mirror(path), [record()])
    return path


@pytest.fixture
def mirror(path: Path) -> Mirror:
    return file_mirror(path)


def only_file(path: Path) -> bytes:
    assert list(path.parent.iterdir()) == [path]
    return path.read_bytes()


def many() -> list[SourceRecord]:
    return [record(key=f"n-{number}") for number in range(600)]


async def test_mirror_is_readable_by_its_owner_only_from_the_start(path: Path, mirror: Mirror) -> None:
    path.chmod(0o644)
    async with mirror.writing():
        modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir() if file != path}
    assert modes == {0o600}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_error_in_the_block_keeps_the_old_mirror(path: Path, mirror: Mirror) -> None:
    before = only_file(path)

    def failing() -> Iterator[SourceRecord]:
        yield from many()
        raise OSError("mine")

    with pytest.raises(OSError, match="mine"):
        await write(mirror, failing())
    assert only_file(path) == before


async def test_cancellation_in_the_block_keeps_the_old_mirror(path: Path, mirror: Mirror) -> None:
    before = only_file(path)
    inside = asyncio.Event()

    async def hang() -> None:
        async with mirror.writing() as writer:
            await writer.write(record(key="new"))
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert only_file(path) == before


async def test_cancellation_at_any_moment_leaves_no_other_file(path: Path, mirror: Mirror) -> None:
    for moment in range(30):
        before = only_file(path)
        task = asyncio.create_task(write(mirror, many()))
        for step in range(moment):
            await asyncio.sleep(0 if step < 5 else 0.0005)
        for _ in range(1 + moment % 3):  # again while the first cancellation is handled
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([task])
        after = only_file(path)
        assert after == before or after.count(b"n-") == 600


@pytest.mark.row("S15")
async def test_file_and_folder_are_on_the_disk_when_the_block_ends(
    path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, fsync = [], os.fsync

    def record_fsync(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_ino, b"UID:new" in path.read_bytes()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record_fsync)
    await write(mirror, [record(key="new")])
    assert synced == [(path.stat().st_ino, False), (path.parent.stat().st_ino, True)]


@pytest.mark.parametrize("failing", ["file", "folder"])
async def test_failed_fsync_is_an_error(
    path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    before = only_file(path)

    def fail(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) is (failing == "folder"):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SourceError, match="No space left on device") as caught:
        await write(mirror, [record(key="new")])
    assert str(path) in str(caught.value)
    assert caught.value.__suppress_context__
    assert (only_file(path) == before) is (failing == "file")


async def test_failed_write_that_the_caller_ignores_keeps_the_old_mirror(path: Path, mirror: Mirror) -> None:
    before = only_file(path)

    async def ignore() -> None:
        async with mirror.writing() as writer:
            with largest_file(10_000):
                for number in range(499):
                    await writer.write(record(key=f"n-{number}"))
                with pytest.raises(SourceError, match="File too large"):
                    await writer.write(record(key="the last of its batch"))

    with pytest.raises(SourceError, match="not all records were written"):
        await ignore()
    assert only_file(path) == before


async def test_impossible_path_is_an_error(tmp_path: Path) -> None:
    for path, reason in [(tmp_path / "no" / "m.csv", "No such file or directory"), (tmp_path, "not a regular file")]:
        with pytest.raises(SourceError, match=f"^{path}: {reason}$"):
            await write(file_mirror(path, format="csv"), [])


async def test_symbolic_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.ics"
    link.symlink_to(path.name)
    await write(file_mirror(link), [record(key="new")])
    assert link.is_symlink()
    assert b"new" in path.read_bytes()


async def test_invalid_record_is_rejected_when_it_is_written(mirror: Mirror) -> None:
    async with mirror.writing() as writer:
        with pytest.raises(ValueError, match="key must be printable"):
            await writer.write(record(key="a\ud800"))
        with pytest.raises(TypeError, match="record must be a SourceRecord, not int"):
            await writer.write(5)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="has ended"):
        await writer.write(record())


@pytest.mark.parametrize("chosen", FORMATS)
async def test_modified_keeps_its_microseconds(tmp_path: Path, chosen: FileFormat) -> None:
    path = tmp_path / f"mirror.{chosen}"
    written = record(modified=datetime(2024, 1, 1, 0, 0, 0, 7, tzinfo=UTC))
    await write(file_mirror(path), [written])
    assert await read(file_source(path)) == [written]
