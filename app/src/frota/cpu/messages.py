"""Messages between agents, server and viewers. No I/O, and only imports that an agent can afford.

A legacy agent sends, without a newline and without an answer:

    CPU -> Núcleos: [37.3, 31.5, 25.8] | Média: 10.6%

A native agent sends and receives lines of JSON, each with the protocol's version:

    → {"frota": 1, "hello": {"host": "web-1", "run": "<32 hexadecimal digits>", "interval": 5.0, "acked": 41}}
    ← {"frota": 1, "last": 41}          the highest number of this run that is on the server's disk, 0 for none
    → {"frota": 1, "n": 42, "age": 0.0, "cpu": [37.3, 31.5], "mean": 34.4, …}     see `Sample`
    ← {"frota": 1, "ack": 42}           everything up to this number is on the server's disk
    ← {"frota": 1, "error": "…"}        what was wrong, in Portuguese; the connection ends; "n": with which sample
    ← {"frota": 1, "ping": 1}           only to agents whose hello has an instance, and answered at once:
    → {"frota": 1, "pong": 1}

Sequence numbers count the samples of a run from 1; a gap is lost samples. `acked` (optional) is the highest number that
a server has acknowledged: a server that has lost its history counts no gap below it. `age` is how many seconds ago the
sample was taken, by a monotonic clock; the server's clock dates it. `instance` (optional) is an id of the agent's
process. Of two agents with the same name the server serves the first while it answers pings; the second's error has
`"code": "name_taken"` and, as `holder`, the address of the first.

A viewer sends queries, any number over one connection, and gets lines of JSON and an end:

    → {"frota": 1, "ask": "hosts"}                                   ← a line for each agent, see server/host.py
    → {"frota": 1, "ask": "history", "host": "web-1", "seconds": 3600}   ← samples in columns, see history_chunk.py
    ← {"frota": 1, "end": true}
"""

import json
import re
from typing import Any, NamedTuple

VERSION = 1
PORT = 5001
MAX_MESSAGE_BYTES = 64 * 1024  # 4,096 cores take 25,000
MAX_CORES = 4096
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,252}")  # a DNS name (RFC 1123), or an address
_RUN = re.compile(r"[0-9a-f]{32}")

CONNECTED = "[CLIENTE] Conectado ao servidor {}"  # legacy texts, as the next four
RUNNING, NEW, STATUS = (
    "[SERVIDOR] Rodando em {}",
    "[NOVA CONEXÃO] Cliente {} conectado.",
    "[STATUS] Clientes conectados: {}",
)
RECEIVED = "[DADOS RECEBIDOS de {}]{}"

INVALID_MESSAGE = "mensagem inválida: esperava uma linha de JSON da versão 1, ou o texto do agente original"
NO_HELLO = "a primeira mensagem deve ser hello"
INVALID_HELLO = "hello inválido: esperava host, run (32 dígitos hexadecimais) e interval (segundos)"
HOST_CHARACTERS = "letras de A a Z, algarismos, '.', '_', ':' e '-'"
INVALID_SAMPLE = "amostra inválida: {}"
TOO_LONG = f"mensagem longa demais, o máximo é {MAX_MESSAGE_BYTES} bytes"
SERVER_FULL = "servidor cheio, tente mais tarde"
REPLACED = "outra conexão do mesmo host tomou o lugar desta"
NAME_TAKEN = "dois agentes se chamam {}: {} e {} (este); dê outro nome a um dos dois (CPU_NAME, --name)"
NAME_TAKEN_CODE = "name_taken"
PING, PONG = (f'{{"frota":{VERSION},"{name}":1}}\n'.encode() for name in ("ping", "pong"))
INTERNAL = "erro interno do servidor; o log do servidor diz qual"
ONE_AT_A_TIME = "uma pergunta por vez: espere o fim da resposta"
UNKNOWN_HOST = "host desconhecido: {}"


class Memory(NamedTuple):
    """Memory in bytes, as of psutil.virtual_memory()."""

    total: int
    used: int
    available: int


class Disk(NamedTuple):
    """The root filesystem in bytes; reads and writes of all disks since the last sample, in bytes per second."""

    total: int
    used: int
    read: float
    write: float


class Network(NamedTuple):
    """All interfaces but loopback, since the last sample: bytes per second; dropped and faulty packets per second."""

    received: float
    sent: float
    drops: float
    errors: float


class Own(NamedTuple):
    """The agent's own usage: CPU seconds since its start, resident bytes."""

    cpu: float
    memory: int


class Sample(NamedTuple):
    """The measurements of one moment; percentages from 0 to 100, load averages of 1, 5 and 15 minutes."""

    cpu: tuple[float, ...]  # of each core
    mean: float  # of the cores of this very sample
    load: tuple[float, float, float] | None = None
    memory: Memory | None = None
    disk: Disk | None = None
    network: Network | None = None
    own: Own | None = None

    def legacy(self) -> str:
        """Return the message of a legacy agent."""
        cores = ", ".join(f"{core:.1f}" for core in self.cpu)
        return f"CPU -> Núcleos: [{cores}] | Média: {self.mean:.1f}%"

    def native(self, number: int, age: float) -> bytes:
        """Return the line of a native agent; `age` in seconds."""
        fields: dict[str, Any] = {"frota": VERSION, "n": number, "age": round(age, 3)}
        fields |= {"cpu": self.cpu, "mean": self.mean, "load": self.load}
        parts = {"memory": self.memory, "disk": self.disk, "network": self.network, "own": self.own}
        fields |= {name: part and part._asdict() for name, part in parts.items()}
        return json.dumps({name: value for name, value in fields.items() if value is not None}).encode() + b"\n"


def hello(host: str, run: str, interval: float, acked: int = 0, instance: str = "") -> bytes:
    """Return a native agent's first line; `instance` is an id of its process in the format of `run`."""
    fields = {"host": host, "run": run, "interval": interval, "acked": acked}
    if instance:
        fields["instance"] = instance
    return json.dumps({"frota": VERSION, "hello": fields}).encode() + b"\n"


def is_host(text: object) -> bool:
    """Tell whether a value can be a host's name."""
    return isinstance(text, str) and _HOST.fullmatch(text) is not None


def is_run(text: object) -> bool:
    """Tell whether a value can be a run's id."""
    return isinstance(text, str) and _RUN.fullmatch(text) is not None
