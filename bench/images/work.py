"""How many images a second the worker sees through, from the queue into S3, beside its converters alone."""

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
QUALITIES = (85, 86, 87)  # so that not all results are the same
HANDED_OUT = 5  # images for each converter that the worker has at a time
MOST_BYTES = 1 << 30  # of one measurement, in the queue at first and in the sink's memory at last
STOP_SECONDS = 20.0
CREDENTIALS = ("AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x")

WORKER_ALL, POOL_ALL = "worker, all CPUs", "converters, all CPUs"
WORKER_ONE, PARTS_ONE, POOL_ONE = "worker, one CPU", "its parts, one CPU", "converters, one CPU"

Command = Callable[[int, int, int, Path], Sequence[str]]
"""Gives the command of a worker: ports of broker and S3, how many converters, and a folder for its state."""

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
    """An image in a file, and the SHA-256 of its grey."""

    path: Path
    data: bytes
    grey: str


@dataclass(frozen=True)
class Plan:
    """So many images, by so many converters on these CPUs, broker and sink on those."""

    images: Sequence[Image]
    count: int
    converters: int
    cpus: Collection[int]
    others: Collection[int]

    @property
    def edge(self) -> int:
        """How many of the first and of the last images are not measured: as many as the worker has at a time."""
        return HANDED_OUT * self.converters


def scenario(options: Options, broker: Broker, title: str, width: int, height: int) -> Scenario:
    """Return the scenario of one size, its images ready on disk."""
    images = list(prepared(options.folder, width, height))
    seconds = time_of(images[0])

    def plan(own: Collection[int], others: Collection[int]) -> Plan:
        edges = 2 * HANDED_OUT * len(own)
        count = edges + max(edges, int(options.seconds / seconds * len(own)))
        return Plan(images, min(count, MOST_BYTES // len(images[0].data)), len(own), own, others)

    everywhere, alone = plan(cpus(), cpus()), plan(cpus()[:1], cpus()[-1:])
    sides: dict[str, Callable[[], Figures]] = {
        WORKER_ALL: partial(measure_worker, options, broker, everywhere, partial(ours, options)),
        POOL_ALL: partial(measure_pool, options, everywhere),
        WORKER_ONE: partial(measure_worker, options, broker, alone, partial(ours, options)),
        PARTS_ONE: partial(measure_worker, options, broker, alone, parts),
        POOL_ONE: partial(measure_pool, options, alone),
    }
    return Scenario(title, sides, COLUMNS, CLAIMS)


def prepared(folder: Path, width: int, height: int) -> Iterator[Image]:
    """Make the images of one size, and what must become of them."""
    for quality in QUALITIES:
        data, path = jpeg(width, height, quality), folder / f"work-{width}x{height}-{quality}.jpg"
        path.write_bytes(data)
        yield Image(path, data, sha256(grayscale.convert(data, ".jpg").data).hexdigest())


def time_of(image: Image) -> float:
    """Return the CPU seconds that a conversion takes, so that as many can be planned as fill the time."""
    times = []
    for _ in range(3):
        start = time.process_time()
        grayscale.convert(image.data, ".jpg")
        times.append(time.process_time() - start)
    return median(times)


def ours(options: Options, broker: int, s3: int, converters: int, state: Path) -> Sequence[str]:
    """Return the command of the worker."""
    where = ["--brokers", f"127.0.0.1:{broker}", "--s3-endpoint", f"http://127.0.0.1:{s3}"]
    flags = ["--bucket", "results", "--state-dir", str(state), "--converters", str(converters)]
    return [str(options.frota), "images", "work", *where, *flags]


def parts(broker: int, s3: int, converters: int, _state: Path) -> Sequence[str]:
    """Return the command of parts.py."""
    return [sys.executable, "-m", "bench.images.parts", str(broker), str(s3), str(converters)]


def measure_worker(options: Options, broker: Broker, plan: Plan, command: Command) -> Figures:
    """Return a worker's figures. Raises InvalidRunError unless each image is in the sink once, and right."""
    broker.fresh(plan.others)
    wanted = fill(broker, plan)
    with fresh_state(options.folder) as (state, log):
        port = free_port()
        sink = on_cpus([sys.executable, str(HERE / "sink.py"), str(port)], plan.others)
        work = on_cpus(["env", *CREDENTIALS, *command(broker.port, port, plan.converters, state)], plan.cpus)
        with running(sink, port, state.with_name("sink")), worker(work, log) as server:
            done = len(ask(port, plan.edge)["objects"])
            require_alive(server)
            used = cpu_seconds(server.pid)
            account = ask(port, plan.count)
            require_alive(server)
            used = (cpu_seconds(server.pid) - used) / (plan.count - done)
            peak = peak_memory(server.pid)
    require_stored(account, wanted)
    # Whatever took longer than half a second was told of when it was begun, too.
    broker.require({QUEUE: 0, DEAD: 0, EVENTS_QUEUE: range(plan.count, 2 * plan.count + 1)})
    times = [at for at, _ in account["objects"].values()]
    return {"rate": steady(times, plan), "cpu_ms": 1e3 * used, "peak_mib": peak / MEBIBYTE}


def measure_pool(options: Options, plan: Plan) -> Figures:
    """Return the figures of the converters alone. Raises InvalidRunError where they fail."""
    words = [str(plan.converters), str(plan.count), *(str(image.path) for image in plan.images)]
    output, _ = run_pinned([sys.executable, "-m", "bench.images.pool", *words], options.seconds, plan.cpus)
    account = json.loads(output)
    cpu_ms = 1e3 * account["cpu"] / (plan.count - plan.edge)
    return {"rate": steady(account["times"], plan), "cpu_ms": cpu_ms, "peak_mib": account["peak"] / MEBIBYTE}


def fill(broker: Broker, plan: Plan) -> dict[str, str]:
    """Queue the images as the producer does; return what must come of them: the SHA-256 of each key."""
    channel, wanted = broker.channel(), {}
    digests = [sha256(image.data).hexdigest() for image in plan.images]
    for number in range(plan.count):
        image, digest = plan.images[number % len(plan.images)], digests[number % len(plan.images)]
        ticket = QueuedImage(uuid4().hex, f"{number}.jpg", uuid4().hex, digest, len(image.data))
        properties = pika.BasicProperties(
            message_id=ticket.id, delivery_mode=2, timestamp=int(time.time()), headers=ticket.headers()
        )
        channel.basic_publish("", QUEUE, image.data, properties)
        wanted["/results/" + result_keys(ticket.filename, ticket.sha256)[0]] = image.grey
    channel.connection.close()
    broker.require({QUEUE: plan.count})
    return wanted


@contextmanager
def worker(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker, and let it end in order: what it has done it must have acknowledged. Raises InvalidRunError."""
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield server
        server.send_signal(signal.SIGTERM)
        if status := server.wait(STOP_SECONDS):
            raise InvalidRunError(f"the worker ended with {status}")
    except subprocess.TimeoutExpired as error:
        raise InvalidRunError(f"the worker does not end within {STOP_SECONDS:.0f} s") from error
    finally:
        if server.poll() is None:  # its converters end with it
            server.kill()
            server.wait()


def ask(port: int, count: int) -> dict[str, Any]:
    """Return the sink's account, as soon as it has so many objects."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", f"/?count={count}")
    account: dict[str, Any] = json.load(connection.getresponse())
    connection.close()
    return account


def require_stored(account: dict[str, Any], wanted: dict[str, str]) -> None:
    """Raise InvalidRunError unless each object was put once, with the right content, and nothing else."""
    stored = {key: digest for key, (_, digest) in account["objects"].items()}
    if account["refused"] or stored != wanted:
        wrong = sum(stored.get(key) != digest for key, digest in wanted.items())
        raise InvalidRunError(
            f"of {len(wanted)} images {wrong} are missing or wrong, {len(stored.keys() - wanted.keys())} are others, "
            f"and {account['refused']} requests were refused"
        )


def steady(times: Sequence[float], plan: Plan) -> float:
    """Return the rate while all converters had something to do: without the first and the last images."""
    inner = sorted(times)[plan.edge : -plan.edge]
    return (len(inner) - 1) / (inner[-1] - inner[0])
