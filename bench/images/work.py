"""The rate of images from the queue to S3: the worker, its parts alone, and its converters alone."""

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import pika  # type: ignore[import-untyped]

from bench.core.compare import Claim, Column, Figures, Scenario
from bench.core.errors import InvalidRunError
from bench.core.load import MEBIBYTE, run_pinned
from bench.core.machine import cpus
from bench.core.options import Options
from bench.core.process import cpu_seconds, free_port, fresh_state, on_cpus, peak_memory, require_alive, running
from bench.images.broker import EVENTS_QUEUE, Broker
from bench.images.photos import jpeg
from frota.images.converter import grayscale
from frota.images.messages import DEAD, QUEUE, QueuedImage, result_keys

HERE = Path(__file__).parent
QUALITIES = (85, 86, 87)  # so that the results differ
PREFETCH_PER_CONVERTER = 5  # unacknowledged images of the worker
MAX_BYTES = 1 << 30  # of one measurement: first in the queue, finally in the memory of the sink
STOP_TIMEOUT_S = 20.0
CREDENTIALS = ("AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x")

WORKER_ALL, POOL_ALL = "worker, all CPUs", "converters, all CPUs"
WORKER_ONE, PARTS_ONE, POOL_ONE = "worker, one CPU", "its parts, one CPU", "converters, one CPU"

Command = Callable[[int, int, int, Path], Sequence[str]]
"""Returns the command of a worker for: ports of broker and S3, number of converters, folder for state."""

COLUMNS = (
    Column("rate", "images/s", ",.1f"),
    Column("cpu_ms", "CPU ms", ",.2f"),
    Column("peak_mib", "peak MiB", ",.1f"),
)
CLAIMS = (
    Claim("one CPU: worker ÷ converters", "rate", WORKER_ONE, POOL_ONE, at_least=0.85),
    Claim("one CPU: its parts ÷ converters", "rate", PARTS_ONE, POOL_ONE),
    Claim("one CPU: worker ÷ its parts", "rate", WORKER_ONE, PARTS_ONE),
    Claim("all CPUs: worker ÷ converters", "rate", WORKER_ALL, POOL_ALL),
    Claim("CPU time: worker ÷ converters", "cpu_ms", WORKER_ONE, POOL_ONE),
)


@dataclass(frozen=True)
class Image:
    """An image, its file, and the SHA-256 of its conversion."""

    path: Path
    data: bytes
    grey_sha256: str


@dataclass(frozen=True)
class Plan:
    """`count` images for `converters` on `cpus`, with broker and sink on `other_cpus`."""

    images: Sequence[Image]
    count: int
    converters: int
    cpus: Collection[int]
    other_cpus: Collection[int]

    @property
    def unmeasured(self) -> int:
        """The number of first and of last images that are not measured: the worker's unacknowledged images."""
        return PREFETCH_PER_CONVERTER * self.converters


def scenario(options: Options, broker: Broker, title: str, width: int, height: int) -> Scenario:
    """Return the scenario of one size, with its images on disk."""
    images = list(prepare_images(options.folder, width, height))
    seconds = conversion_seconds(images[0])

    def plan(own: Collection[int], other: Collection[int]) -> Plan:
        unmeasured = 2 * PREFETCH_PER_CONVERTER * len(own)
        count = unmeasured + max(unmeasured, int(options.seconds / seconds * len(own)))
        return Plan(images, min(count, MAX_BYTES // len(images[0].data)), len(own), own, other)

    everywhere, alone = plan(cpus(), cpus()), plan(cpus()[:1], cpus()[-1:])
    sides: dict[str, Callable[[], Figures]] = {
        WORKER_ALL: partial(measure_worker, options, broker, everywhere, partial(frota, options)),
        POOL_ALL: partial(measure_pool, options, everywhere),
        WORKER_ONE: partial(measure_worker, options, broker, alone, partial(frota, options)),
        PARTS_ONE: partial(measure_worker, options, broker, alone, parts),
        POOL_ONE: partial(measure_pool, options, alone),
    }
    return Scenario(title, sides, COLUMNS, CLAIMS)


def prepare_images(folder: Path, width: int, height: int) -> Iterator[Image]:
    """Yield the images of one size, and write their files."""
    for quality in QUALITIES:
        data, path = jpeg(width, height, quality), folder / f"work-{width}x{height}-{quality}.jpg"
        path.write_bytes(data)
        yield Image(path, data, sha256(grayscale.convert(data, ".jpg").data).hexdigest())


def conversion_seconds(image: Image) -> float:
    """Return the CPU time (s) of a conversion, which determines the number of images."""
    times = []
    for _ in range(3):
        start = time.process_time()
        grayscale.convert(image.data, ".jpg")
        times.append(time.process_time() - start)
    return median(times)


def frota(options: Options, broker: int, s3: int, converters: int, state: Path) -> Sequence[str]:
    """Return the command of the worker of frota."""
    address = ["--brokers", f"127.0.0.1:{broker}", "--s3-endpoint", f"http://127.0.0.1:{s3}"]
    flags = ["--bucket", "results", "--state-dir", str(state), "--converters", str(converters)]
    return [str(options.frota), "images", "work", *address, *flags]


def parts(broker: int, s3: int, converters: int, _state: Path) -> Sequence[str]:
    """Return the command of parts.py."""
    return [sys.executable, "-m", "bench.images.parts", str(broker), str(s3), str(converters)]


def measure_worker(options: Options, broker: Broker, plan: Plan, command: Command) -> Figures:
    """Return the figures of a worker. Raises InvalidRunError unless S3 has each image once, and right."""
    broker.reset(plan.other_cpus)
    expected = fill_queue(broker, plan)
    with fresh_state(options.folder) as (state, log):
        port = free_port()
        sink = on_cpus([sys.executable, str(HERE / "sink.py"), str(port)], plan.other_cpus)
        work = on_cpus(["env", *CREDENTIALS, *command(broker.port, port, plan.converters, state)], plan.cpus)
        with running(sink, port, state.with_name("sink")), worker(work, log) as server:
            first = len(get_objects(port, plan.unmeasured)["objects"])
            require_alive(server)
            cpu_before = cpu_seconds(server.pid)
            stored = get_objects(port, plan.count)
            require_alive(server)
            cpu = (cpu_seconds(server.pid) - cpu_before) / (plan.count - first)
            peak = peak_memory(server.pid)
    require_stored(stored, expected)
    # For an image that takes more than 0.5 s, the worker also publishes an event at the start.
    broker.require({QUEUE: 0, DEAD: 0, EVENTS_QUEUE: range(plan.count, 2 * plan.count + 1)})
    times = [at for at, _ in stored["objects"].values()]
    return {"rate": steady_rate(times, plan), "cpu_ms": 1e3 * cpu, "peak_mib": peak / MEBIBYTE}


def measure_pool(options: Options, plan: Plan) -> Figures:
    """Return the figures of the converters alone. Raises InvalidRunError if they fail."""
    arguments = [str(plan.converters), str(plan.count), *(str(image.path) for image in plan.images)]
    output, _ = run_pinned([sys.executable, "-m", "bench.images.pool", *arguments], options.seconds, plan.cpus)
    stats = json.loads(output)
    cpu_ms = 1e3 * stats["cpu"] / (plan.count - plan.unmeasured)
    return {"rate": steady_rate(stats["times"], plan), "cpu_ms": cpu_ms, "peak_mib": stats["peak"] / MEBIBYTE}


def fill_queue(broker: Broker, plan: Plan) -> dict[str, str]:
    """Queue the images as the producer does; return the keys to expect in S3, and the SHA-256 of each."""
    channel, expected = broker.channel(), {}
    digests = [sha256(image.data).hexdigest() for image in plan.images]
    for number in range(plan.count):
        image, digest = plan.images[number % len(plan.images)], digests[number % len(plan.images)]
        queued = QueuedImage(uuid4().hex, f"{number}.jpg", uuid4().hex, digest, len(image.data))
        properties = pika.BasicProperties(
            message_id=queued.id, delivery_mode=2, timestamp=int(time.time()), headers=queued.headers()
        )
        channel.basic_publish("", QUEUE, image.data, properties)
        expected["/results/" + result_keys(queued.filename, queued.sha256)[0]] = image.grey_sha256
    channel.connection.close()
    broker.require({QUEUE: plan.count})
    return expected


@contextmanager
def worker(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker, and stop it by SIGTERM, so that it acknowledges its images. Raises InvalidRunError."""
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield server
        server.send_signal(signal.SIGTERM)
        if status := server.wait(STOP_TIMEOUT_S):
            raise InvalidRunError(f"the worker exited with status {status}")
    except subprocess.TimeoutExpired as error:
        raise InvalidRunError(f"the worker does not end within {STOP_TIMEOUT_S:.0f} s") from error
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def get_objects(port: int, count: int) -> dict[str, Any]:
    """Wait until the sink has `count` objects; return its objects and the number of rejected requests (sink.py)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", f"/?count={count}")
    stored: dict[str, Any] = json.load(connection.getresponse())
    connection.close()
    return stored


def require_stored(stored: dict[str, Any], expected: dict[str, str]) -> None:
    """Raise InvalidRunError unless exactly the expected objects were put, once, with the right content."""
    digests = {key: digest for key, (_, digest) in stored["objects"].items()}
    if stored["rejected"] or digests != expected:
        wrong = sum(digests.get(key) != digest for key, digest in expected.items())
        raise InvalidRunError(
            f"of {len(expected)} images, {wrong} are missing or wrong; {len(digests.keys() - expected.keys())} objects "
            f"are unexpected; {stored['rejected']} requests were rejected"
        )


def steady_rate(times: Sequence[float], plan: Plan) -> float:
    """Return the rate while all converters were busy, that is, without the first and the last images."""
    inner = sorted(times)[plan.unmeasured : -plan.unmeasured]
    return (len(inner) - 1) / (inner[-1] - inner[0])
