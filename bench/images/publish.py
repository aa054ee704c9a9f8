"""The rate of accepted images: the producer of frota, its upper limit, and pika alone."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bench.core.build import compile_c
from bench.core.compare import Claim, Column, Figures, Scenario
from bench.core.errors import InvalidRunError
from bench.core.load import Generator, Stats, figures_of, run_generator
from bench.core.machine import cpus
from bench.core.options import Options
from bench.core.process import free_port, fresh_state, on_cpus, peak_memory, running
from bench.images.broker import EVENTS_QUEUE, Broker
from bench.images.photos import jpeg
from frota.images.messages import DEAD, QUEUE

HERE = Path(__file__).parent
WIDTH, HEIGHT, QUALITY = 1152, 864, 84  # about 200 KB
WINDOW = 64  # unconfirmed messages
CLIENTS = WINDOW  # connections with one image each, as a legacy client has
MAX_IMAGES = 20_000  # of one measurement: 4 GB

NATIVE, LEGACY = "frota (native)", "frota (legacy)"
EDGE, PUBLISHER = "gRPC and publish, bare", "our publisher alone"
PIKA, ONE_BY_ONE = "pika, confirms async", "pika, one by one"

Command = Callable[[Options, Broker, int, Path], Sequence[str]]
"""Returns the command of a server on a port, with its state in a folder."""

COLUMNS = (
    Column("rate", "images/s", ",.0f"),
    Column("p50_ms", "p50 ms", ",.2f"),
    Column("p99_ms", "p99 ms", ",.2f"),
    Column("peak_mib", "peak MiB", ",.1f"),
    Column("load_busy", "load CPU", ".0%"),
)
CLAIMS = (
    Claim("our publisher alone ÷ pika", "rate", PUBLISHER, PIKA, at_least=0.7),
    Claim("native ÷ pika", "rate", NATIVE, PIKA, at_least=0.7),
    Claim("legacy ÷ pika", "rate", LEGACY, PIKA, at_least=0.7),
    Claim("gRPC and publish ÷ pika", "rate", EDGE, PIKA),
    Claim("native ÷ gRPC and publish", "rate", NATIVE, EDGE),
    Claim("native ÷ pika, one by one", "rate", NATIVE, ONE_BY_ONE),
)


def scenario(options: Options, broker: Broker) -> Scenario:
    """Return the scenario, with its image on disk. Raises CannotRunError without a compiler."""
    image = options.folder / "published.jpg"
    image.write_bytes(jpeg(WIDTH, HEIGHT, QUALITY))
    generator = Generator(compile_c(HERE / "load.c"), CLIENTS, options.seconds, MAX_IMAGES, [image])
    served = partial(measure_served, options, broker, generator)
    alone = partial(measure_alone, options, broker, image)
    sides: dict[str, Callable[[], Figures]] = {
        NATIVE: partial(served, producer, "native"),
        LEGACY: partial(served, producer, "legacy"),
        EDGE: partial(served, edge, "native"),
        PUBLISHER: partial(alone, "publisher", WINDOW),
        PIKA: partial(alone, "pika_publisher", WINDOW),
        ONE_BY_ONE: partial(alone, "pika_publisher", 1),
    }
    return Scenario(f"publish {image.stat().st_size / 1000:.0f} KB", sides, COLUMNS, CLAIMS)


def producer(options: Options, broker: Broker, port: int, state: Path) -> Sequence[str]:
    """Return the command of the producer."""
    address = ["--host", "127.0.0.1", "--port", str(port), "--state-dir", str(state)]
    return [str(options.frota), "images", "serve", *address, "--brokers", f"127.0.0.1:{broker.port}"]


def edge(_options: Options, broker: Broker, port: int, _state: Path) -> Sequence[str]:
    """Return the command of edge.py."""
    return [sys.executable, "-m", "bench.images.edge", str(port), str(broker.port)]


def measure_served(options: Options, broker: Broker, generator: Generator, command: Command, protocol: str) -> Figures:
    """Return the figures of a server that receives images. Raises InvalidRunError."""
    broker.reset(cpus())
    with fresh_state(options.folder) as (state, log):
        port = free_port()
        with running(on_cpus(command(options, broker, port, state), cpus()), port, log) as server:
            stats = generator.run(port, protocol)
            peak = peak_memory(server)
    return stored_figures(broker, stats, peak)


def measure_alone(options: Options, broker: Broker, image: Path, module: str, window: int) -> Figures:
    """Return the figures of a publisher that receives no images. Raises InvalidRunError."""
    broker.reset(cpus())
    numbers = (broker.port, options.seconds, window, MAX_IMAGES)
    command = [sys.executable, "-m", f"bench.images.{module}", *map(str, numbers), str(image)]
    stats = run_generator(command, options.seconds, cpus())
    return stored_figures(broker, stats, stats["peak"])


def stored_figures(broker: Broker, stats: Stats, peak: int) -> Figures:
    """Return the figures of a run. Raises InvalidRunError unless the queue holds exactly the confirmed images."""
    try:
        broker.require({QUEUE: sum(stats["acknowledged"]), DEAD: 0, EVENTS_QUEUE: 0})
    except InvalidRunError as error:
        raise InvalidRunError(f"the queue differs from the confirms: {error}") from error
    return figures_of(stats, peak)
