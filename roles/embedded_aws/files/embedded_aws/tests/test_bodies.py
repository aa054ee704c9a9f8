"""Bodies of requests: what is taken in, where it is kept, and for how long."""

import io
import threading
from hashlib import sha256
from pathlib import Path

import pytest
from embedded_aws import bodies as module
from embedded_aws.bodies import INLINE, BadBodyError, Bodies

LARGE = bytes(range(256)) * 1000


@pytest.fixture
def bodies(tmp_path: Path) -> Bodies:
    return Bodies(tmp_path)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_small_body_is_inline(bodies: Bodies, tmp_path: Path) -> None:
    """A body of at most INLINE bytes stays in memory and creates no file."""
    body = bodies.take(io.BytesIO(b"x" * INLINE), INLINE)
    assert (body.head, body.digest) == (b"x" * INLINE, "")
    assert files(tmp_path) == {}


@pytest.mark.parametrize("length", [len(LARGE), None], ids=["known", "unknown"])
def test_large_body_is_a_file(bodies: Bodies, tmp_path: Path, length: int | None) -> None:
    """A large body is stored in a file named by its digest, with or without a known length."""
    body = bodies.take(io.BytesIO(LARGE), length)
    assert files(tmp_path) == {sha256(LARGE).hexdigest(): LARGE}
    assert (body.head, body.size) == (LARGE[:INLINE], len(LARGE))
    with bodies.open(body) as stream:
        assert stream.read() == LARGE


def test_next_request_stays_in_the_stream(bodies: Bodies) -> None:
    """Bytes after the body stay in the stream for the next request."""
    stream = io.BytesIO(LARGE + b"GET")
    bodies.take(stream, len(LARGE))
    assert stream.read() == b"GET"


class _Ends(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size) or self._end()

    def _end(self) -> bytes:
        raise TimeoutError


@pytest.mark.parametrize("sent", [b"", b"x", LARGE], ids=["nothing", "little", "much"])
@pytest.mark.parametrize("stream", [io.BytesIO, _Ends], ids=["goes away", "falls silent"])
def test_incomplete_body_is_rejected(bodies: Bodies, tmp_path: Path, stream: type[io.BytesIO], sent: bytes) -> None:
    """A body that ends early or times out is rejected, and its file is deleted."""
    with pytest.raises(BadBodyError, match="IncompleteBody"):
        bodies.take(stream(sent), len(LARGE) + 1)
    assert files(tmp_path) == {}


@pytest.mark.parametrize("length", [2001, None, -1], ids=["known", "unknown", "negative"])
def test_oversized_body_is_rejected(
    bodies: Bodies, tmp_path: Path, length: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An oversized body is rejected without reading it to its end, and its file is deleted."""
    monkeypatch.setattr(module, "INLINE", 100)
    monkeypatch.setattr(module, "LARGEST", 2000)
    endless = io.BytesIO(LARGE)
    with pytest.raises(BadBodyError, match="EntityTooLarge"):
        bodies.take(endless, length)
    assert endless.tell() <= 2001
    assert files(tmp_path) == {}


def test_file_is_deleted_with_its_last_reference(bodies: Bodies, tmp_path: Path) -> None:
    """A file is deleted with its last reference."""
    one, other = (bodies.take(io.BytesIO(LARGE), None) for _ in range(2))
    bodies.release(one)
    assert len(files(tmp_path)) == 1
    bodies.release(other)
    assert files(tmp_path) == {}


def test_sweep_deletes_unreferenced_files(bodies: Bodies, tmp_path: Path) -> None:
    """After a restart, the sweep deletes every file without a reference."""
    held, forgotten = (bodies.take(io.BytesIO(data), None) for data in (LARGE, LARGE[::-1]))
    (tmp_path / "new-half").touch()
    again = Bodies(tmp_path)
    assert again.known(held.digest, held.size) == held
    again.sweep()
    assert set(files(tmp_path)) == {held.digest}
    with pytest.raises(FileNotFoundError):
        again.known(forgotten.digest, forgotten.size)


def test_slow_body_blocks_no_other(bodies: Bodies) -> None:
    """A body that arrives slowly does not block another one."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            begun.set()
            assert go_on.wait(10)
            return super().read(size)

    slow = threading.Thread(target=bodies.take, args=(Slow(LARGE), len(LARGE)))
    slow.start()
    assert begun.wait(10)
    assert bodies.take(io.BytesIO(b"x"), 1).head == b"x"
    go_on.set()
    slow.join(10)
