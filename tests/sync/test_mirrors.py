"""Mirrors whatever their format: a file is replaced by a whole new one, or not at all."""

import asyncio
import errno
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connector_async.sync.exceptions import SourceError
from connector_async.sync.formats import (
    Mirror,
    file_mirror,
    file_source,
)
from connector_async.sync.formats.mirror import _Replacement
from connector_async.sync.records import SourceRecord
from tests.support.sync_files import FORMATS, read, record, write


@pytest.fixture(params=FORMATS)
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Mirror]:
    """Return a mirror that holds one record."""
    path = tmp_path / f"mirror.{request.param}"
    await write(file_mirror(path), [record()])
    return path, file_mirror(path)


def only_file(path: Path) -> bytes:
    assert list(path.parent.iterdir()) == [path]
    return path.read_bytes()


async def test_only_its_owner_may_read_a_mirror_from_the_beginning(kept: tuple[Path, Mirror]) -> None:
    path, mirror = kept
    path.chmod(0o644)
    async with mirror.writing():
        modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir() if file != path}
    assert modes == {0o600}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_an_error_in_the_block_leaves_the_mirror_as_it_was(kept: tuple[Path, Mirror]) -> None:
    path, mirror = kept
    before = only_file(path)

    def failing() -> Iterator[SourceRecord]:
        yield from [record(key=f"n-{number}") for number in range(700)]
        raise OSError("mine")

    with pytest.raises(OSError, match="mine"):
        await write(mirror, failing())
    assert only_file(path) == before


async def test_a_cancellation_leaves_the_mirror_as_it_was(kept: tuple[Path, Mirror]) -> None:
    path, mirror = kept
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


@pytest.mark.parametrize("steps", range(8))
async def test_a_cancellation_at_any_moment_leaves_no_other_file(kept: tuple[Path, Mirror], steps: int) -> None:
    path, mirror = kept
    before = only_file(path)
    task = asyncio.create_task(write(mirror, [record(key=f"n-{number}") for number in range(600)]))
    for _ in range(steps):
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait([task])
    after = only_file(path)
    assert after == before or after.count(b"n-") == 600


async def test_a_full_disk_is_told_and_leaves_the_mirror_as_it_was(
    kept: tuple[Path, Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, mirror = kept
    before = only_file(path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SourceError, match="No space left on device") as caught:
        await write(mirror, [record(key="new")])
    assert str(path) in str(caught.value)
    assert caught.value.__suppress_context__
    assert only_file(path) == before


async def test_a_write_that_failed_is_not_forgotten(kept: tuple[Path, Mirror], monkeypatch: pytest.MonkeyPatch) -> None:
    path, mirror = kept
    before = only_file(path)

    async def swallow() -> None:
        async with mirror.writing() as writer:
            with monkeypatch.context() as patch:
                patch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
                for number in range(499):
                    await writer.write(record(key=f"n-{number}"))
                with pytest.raises(SourceError, match="Input/output error"):
                    await writer.write(record(key="the last of its batch"))

    with pytest.raises(SourceError, match="not all records were written"):
        await swallow()
    assert only_file(path) == before


async def test_a_mirror_that_cannot_be_there_is_told(tmp_path: Path) -> None:
    for path, reason in [(tmp_path / "no" / "m.csv", "No such file or directory"), (tmp_path, "not a regular file")]:
        with pytest.raises(SourceError, match=f"^{path}: {reason}$"):
            await write(file_mirror(path, format="csv"), [])


async def test_a_symbolic_link_stays_one(kept: tuple[Path, Mirror], tmp_path: Path) -> None:
    path, _ = kept
    link = tmp_path / f"link{path.suffix}"
    link.symlink_to(path.name)
    await write(file_mirror(link), [record(key="new")])
    assert link.is_symlink()
    assert b"new" in path.read_bytes()


async def test_what_is_no_record_is_refused_when_it_is_written(kept: tuple[Path, Mirror]) -> None:
    _, mirror = kept
    async with mirror.writing() as writer:
        with pytest.raises(ValueError, match="key must be printable"):
            await writer.write(record(key="a\ud800"))
        with pytest.raises(TypeError, match="record must be a SourceRecord, not int"):
            await writer.write(5)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="has ended"):
        await writer.write(record())


async def test_modified_is_kept_to_the_microsecond(kept: tuple[Path, Mirror]) -> None:
    path, mirror = kept
    written = record(modified=datetime(2024, 1, 1, 0, 0, 0, 7, tzinfo=UTC))
    await write(mirror, [written])
    assert await read(file_source(path)) == [written]


def test_a_file_that_is_given_up_before_its_thread_begins_is_never_made(tmp_path: Path) -> None:
    file = _Replacement(tmp_path / "mirror.csv")
    file.discard()
    file.begin()
    file.write(b"x")
    file.commit()
    assert list(tmp_path.iterdir()) == []
