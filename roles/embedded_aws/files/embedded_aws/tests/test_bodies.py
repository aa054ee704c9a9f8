"""Request bodies: limits, files, reference counts."""

import io
import threading
from hashlib import sha256
from pathlib import Path

import pytest
from embedded_aws.bodies import MAX_INLINE_BYTES, Bodies, BodyRejectedError

LARGE = bytes(range(256)) * 1000


@pytest.fixture
def bodies(tmp_path: Path) -> Bodies:
    return Bodies(tmp_path)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_small_body_is_inline(bodies: Bodies, tmp_path: Path) -> None:
    """A body of at most MAX_INLINE_BYTES bytes stays in memory and creates no file."""
    body = bodies.receive(io.BytesIO(b"x" * MAX_INLINE_BYTES), MAX_INLINE_BYTES)
    assert (body.head, body.digest) == (b"x" * MAX_INLINE_BYTES, "")
    assert files(tmp_path) == {}


@pytest.mark.parametrize("length", [len(LARGE), None], ids=["known", "unknown"])
def test_large_body_is_a_file(bodies: Bodies, tmp_path: Path, length: int | None) -> None:
    """A large body is stored in a file named by its digest, with or without a known length."""
    body = bodies.receive(io.BytesIO(LARGE), length)
    assert files(tmp_path) == {sha256(LARGE).hexdigest(): LARGE}
    assert (body.head, body.size) == (LARGE[:MAX_INLINE_BYTES], len(LARGE))
    with bodies.open(body) as stream:
        assert stream.read() == LARGE


def test_next_request_stays_in_the_stream(bodies: Bodies) -> None:
    """Bytes after the body stay in the stream for the next request."""
    stream = io.BytesIO(LARGE + b"GET")
    bodies.receive(stream, len(LARGE))
    assert stream.read() == b"GET"


class _TimesOut(io.BytesIO):
    """A stream that times out at its end."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size) or self._time_out()

    def _time_out(self) -> bytes:
        raise TimeoutError


@pytest.mark.parametrize("sent", [b"", b"x", LARGE], ids=["nothing", "little", "much"])
@pytest.mark.parametrize("stream", [io.BytesIO, _TimesOut], ids=["disconnects", "times out"])
def test_incomplete_body_is_rejected(bodies: Bodies, tmp_path: Path, stream: type[io.BytesIO], sent: bytes) -> None:
    """A body that ends early or times out is rejected, and its file is deleted."""
    with pytest.raises(BodyRejectedError, match="IncompleteBody"):
        bodies.receive(stream(sent), len(LARGE) + 1)
    assert files(tmp_path) == {}


@pytest.mark.parametrize("length", [2001, None, -1], ids=["known", "unknown", "negative"])
def test_oversized_body_is_rejected(tmp_path: Path, length: int | None) -> None:
    """An oversized body is rejected without reading it to its end, and its file is deleted."""
    bodies = Bodies(tmp_path, max_inline_bytes=100, max_bytes=2000)
    oversized = io.BytesIO(LARGE)
    with pytest.raises(BodyRejectedError, match="EntityTooLarge"):
        bodies.receive(oversized, length)
    assert oversized.tell() <= 2001
    assert files(tmp_path) == {}


def test_file_is_deleted_with_its_last_reference(bodies: Bodies, tmp_path: Path) -> None:
    """A file is deleted with its last reference."""
    first, second = (bodies.receive(io.BytesIO(LARGE), None) for _ in range(2))
    bodies.release(first)
    assert len(files(tmp_path)) == 1
    bodies.release(second)
    assert files(tmp_path) == {}


def test_unreferenced_files_are_deleted(bodies: Bodies, tmp_path: Path) -> None:
    """After a restart, every file without a reference is deleted."""
    referenced, unreferenced = (bodies.receive(io.BytesIO(data), None) for data in (LARGE, LARGE[::-1]))
    (tmp_path / "new-incomplete").touch()
    restarted = Bodies(tmp_path)
    assert restarted.acquire(referenced.digest, referenced.size) == referenced
    restarted.delete_unreferenced()
    assert set(files(tmp_path)) == {referenced.digest}
    with pytest.raises(FileNotFoundError):
        restarted.acquire(unreferenced.digest, unreferenced.size)


def test_slow_body_blocks_no_other(bodies: Bodies) -> None:
    """A body that arrives slowly does not block another one."""
    started, may_continue = threading.Event(), threading.Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            started.set()
            assert may_continue.wait(10)
            return super().read(size)

    slow = threading.Thread(target=bodies.receive, args=(Slow(LARGE), len(LARGE)))
    slow.start()
    assert started.wait(10)
    assert bodies.receive(io.BytesIO(b"x"), 1).head == b"x"
    may_continue.set()
    slow.join(10)
