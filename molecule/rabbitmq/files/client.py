"""A client of the brokers, on Debian's pika.

client.py rights BROKER         what each user may and may not do: a line for each try
client.py publish FILE BROKER…  numbers into `work`, one after the other, for ever; what was confirmed goes to FILE
client.py fill COUNT BROKER     so many messages into `work`
client.py empty FILE BROKER     the messages of `work`, acknowledged, one a line, until all that FILE names have come
client.py certificate BROKER    the digest of the certificate that the broker shows
"""

import contextlib
import hashlib
import itertools
import socket
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.credentials import ExternalCredentials, PlainCredentials
from pika.exceptions import AMQPError

PORT = 5671
PACE = 0.005  # seconds between two messages of who publishes for ever: a playbook is to have some of the machine too
PERSISTENT = pika.BasicProperties(delivery_mode=2)


def tls(user: str) -> ssl.SSLContext:
    """Return a TLS context with the certificate of a user, or without one."""
    context = ssl.create_default_context(cafile="/etc/frota/certificates/ca.crt")
    if user:
        context.load_cert_chain(f"/etc/frota/certificates/{user}.crt", f"/etc/frota/credentials/{user}.key")
    return context


def connect(user: str, broker: str, password: str = "") -> BlockingChannel:
    """Open a channel as a user."""
    parameters = pika.ConnectionParameters(
        broker,
        PORT,
        "frota",
        PlainCredentials("guest", password) if password else ExternalCredentials(),
        ssl_options=pika.SSLOptions(tls(user), broker),
        socket_timeout=60,
        stack_timeout=120,
        blocked_connection_timeout=120,
        retry_delay=0,
    )
    channel = pika.BlockingConnection(parameters).channel()
    channel.confirm_delivery()
    return channel


def publish(exchange: str, key: str = "") -> Callable[[BlockingChannel], object]:
    """Return the act of publishing there."""
    return lambda channel: channel.basic_publish(exchange, key, b"0", PERSISTENT, mandatory=bool(key))


def get(queue: str) -> Callable[[BlockingChannel], object]:
    """Return the act of reading a message of a queue."""
    return lambda channel: channel.basic_get(queue, auto_ack=True)


def declare(channel: BlockingChannel) -> object:
    """Make a queue."""
    return channel.queue_declare("mine", durable=True, arguments={"x-queue-type": "quorum"})


RIGHTS = {
    "producer": {
        "publishes work": publish("", "work"),
        "publishes to the exchange of the dead": publish("dead"),
        "reads work": get("work"),
        "reads events": get("events.one"),
        "declares a queue": declare,
        "deletes a queue": lambda channel: channel.queue_delete("work"),
    },
    "worker": {
        "reads work": get("work"),
        "reads the dead": get("dead"),
        "publishes an event": publish("events"),
        "publishes to the dead": publish("dead"),
        "publishes work": publish("", "work"),
        "binds a queue": lambda channel: channel.queue_bind("work", "events"),
    },
}


def attempt(name: str, act: Callable[[], object]) -> None:
    """Run an operation and print its result."""
    try:
        act()
        print(f"{name}: yes")
    except (AMQPError, OSError) as error:
        code = getattr(error, "reply_code", "") or type(error).__name__
        print(f"{name}: {code}")


def rights(broker: str) -> None:
    """Try all operations as all users."""
    for user, acts in RIGHTS.items():
        for name, act in acts.items():
            attempt(f"{user} {name}", lambda user=user, act=act: act(connect(user, broker)))
    attempt("unregistered connects", lambda: connect("unregistered", broker))
    attempt("nobody connects", lambda: connect("", broker))
    attempt("guest connects", lambda: connect("producer", broker, password="guest"))  # noqa: S106 - that everybody knows
    for address in (broker, "127.0.0.1"):
        attempt("clear text connects", lambda address=address: socket.create_connection((address, 5672), 60))


def publish_for_ever(file: str, brokers: list[str]) -> None:
    """Go from one broker to the next when one is away; a number that was not confirmed is published again."""
    numbers = itertools.count()
    number = next(numbers)
    with Path(file).open("w", encoding="utf-8") as confirmed:
        for broker in itertools.cycle(brokers):
            with contextlib.suppress(AMQPError, OSError):
                channel = connect("producer", broker)
                while True:
                    channel.basic_publish("", "work", str(number).encode(), PERSISTENT, mandatory=True)
                    print(number, file=confirmed, flush=True)
                    number = next(numbers)
                    time.sleep(PACE)


def fill(count: str, broker: str) -> None:
    """Publish `count` messages, each with a confirm."""
    channel = connect("producer", broker)
    for number in range(int(count)):
        channel.basic_publish("", "work", str(number).encode(), PERSISTENT, mandatory=True)


def empty(file: str, broker: str) -> None:
    """Read until all has come; on the way to less, only a queue that counts nothing, and sends nothing, is empty."""
    expected = set(Path(file).read_text(encoding="utf-8").split())
    channel = connect("worker", broker)
    channel.basic_qos(prefetch_count=500)
    for method, _, body in channel.consume("work", inactivity_timeout=20):
        if method is not None:
            channel.basic_ack(method.delivery_tag)
            print(body.decode())
            expected.discard(body.decode())
        elif channel.queue_declare("work", passive=True).method.message_count == 0:
            break
        if not expected:
            break


def certificate(broker: str) -> None:
    """Print the digest of the broker's certificate as a file."""
    with (
        socket.create_connection((broker, PORT), 60) as plain,
        tls("producer").wrap_socket(plain, server_hostname=broker) as encrypted,
    ):
        pem = ssl.DER_cert_to_PEM_cert(encrypted.getpeercert(binary_form=True))
    print(hashlib.sha256(pem.encode()).hexdigest())


def main(command: str, *arguments: str) -> None:
    """Run the command of the arguments."""
    if command == "publish":
        publish_for_ever(arguments[0], list(arguments[1:]))
    else:
        {"rights": rights, "fill": fill, "empty": empty, "certificate": certificate}[command](*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
