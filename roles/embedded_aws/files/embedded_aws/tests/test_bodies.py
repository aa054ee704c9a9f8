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


def test_a_small_body_needs_no_file(bodies: Bodies, tmp_path: Path) -> None:
    body = bodies.take(io.BytesIO(b"x" * INLINE), INLINE)
    assert (body.head, body.digest) == (b"x" * INLINE, "")
    assert files(tmp_path) == {}


@pytest.mark.parametrize("length", [len(LARGE), None], ids=["known", "unknown"])
def test_a_large_body_is_a_file_named_by_its_digest_whether_or_not_its_length_is_known(
    bodies: Bodies, tmp_path: Path, length: int | None
) -> None:
    body = bodies.take(io.BytesIO(LARGE), length)
    assert files(tmp_path) == {sha256(LARGE).hexdigest(): LARGE}
    assert (body.head, body.size) == (LARGE[:INLINE], len(LARGE))
    with bodies.open(body) as stream:
        assert stream.read() == LARGE


def test_what_comes_after_the_body_is_left_to_the_next_request(bodies: Bodies) -> None:
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
def test_a_body_that_does_not_come_to_its_end_is_refused_and_leaves_nothing(
    bodies: Bodies, tmp_path: Path, stream: type[io.BytesIO], sent: bytes
) -> None:
    with pytest.raises(BadBodyError, match="IncompleteBody"):
        bodies.take(stream(sent), len(LARGE) + 1)
    assert files(tmp_path) == {}


@pytest.mark.parametrize("length", [2001, None, -1], ids=["known", "unknown", "negative"])
def test_a_body_that_is_too_large_is_refused_and_leaves_nothing(
    bodies: Bodies, tmp_path: Path, length: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "INLINE", 100)
    monkeypatch.setattr(module, "LARGEST", 2000)
    endless = io.BytesIO(LARGE)
    with pytest.raises(BadBodyError, match="EntityTooLarge"):
        bodies.take(endless, length)
    assert endless.tell() <= 2001
    assert files(tmp_path) == {}


def test_a_file_goes_with_the_last_who_holds_it(bodies: Bodies, tmp_path: Path) -> None:
    one, other = (bodies.take(io.BytesIO(LARGE), None) for _ in range(2))
    bodies.release(one)
    assert len(files(tmp_path)) == 1
    bodies.release(other)
    assert files(tmp_path) == {}


def test_a_new_start_removes_the_files_that_no_request_holds(bodies: Bodies, tmp_path: Path) -> None:
    held, forgotten = (bodies.take(io.BytesIO(data), None) for data in (LARGE, LARGE[::-1]))
    (tmp_path / "new-half").touch()
    again = Bodies(tmp_path)
    assert again.known(held.digest, held.size) == held
    again.sweep()
    assert set(files(tmp_path)) == {held.digest}
    with pytest.raises(FileNotFoundError):
        again.known(forgotten.digest, forgotten.size)


def test_while_one_takes_a_body_slowly_another_takes_its_own(bodies: Bodies) -> None:
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
