"""The output of `frota images send`: the legacy client's texts, each image's result, and a progress bar."""

import json
import os
import sys
import time
from collections import Counter
from typing import Any

from frota.images.client.files import File
from frota.images.client.rpc import Image
from frota.images.proto import images_pb2 as native
from frota.logs.log import printable

SENDING, SUCCESS, FAILURE = "Enviando imagem '{}' para {}...", "✔ Sucesso: {}", "✘ Falha: {}"
DONE, DEAD, LOST = "✔ Feita: {}: {}", "✘ Morta: {}: {}", "✘ Desconhecida: {}: o servidor não sabe mais dela"
PASSED_OVER = "Não enviados das pastas: {}: {}"
STATES = {
    native.UNKNOWN: "unknown",
    native.QUEUED: "queued",
    native.WORKING: "working",
    native.DONE: "done",
    native.DEAD: "dead",
}
_WIDTH = 24  # columns of the bar itself
_EIGHTHS = " ▏▎▍▌▋▊▉"
_MB = 1e6


def write(fields: dict[str, Any]) -> None:
    """Print an object as one line of JSON, in ASCII: file names may hold control characters."""
    print(json.dumps(fields), flush=True)


def status_fields(status: native.Status) -> dict[str, Any]:
    """Return the fields of a status, without empty ones."""
    fields = {"id": status.id, "filename": status.filename, "state": STATES[status.state], "trace_id": status.trace_id}
    more = {"worker": status.worker, "url": status.url, "reason": status.reason, "changed": status.changed}
    return fields | {name: value for name, value in more.items() if value}


class Report:
    """Counts the results of the images, and prints each."""

    def __init__(self, address: str, count: int, size: int, *, as_json: bool, wait: bool) -> None:
        self._address, self._count, self._size = address, count, size
        self._json, self._wait = as_json, wait
        self.follows = wait  # False where the server has no status
        self._began = time.monotonic()
        self._bar_drawn = False
        self._shows_bar = not as_json and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._full = "█" if sys.stderr.encoding.lower() == "utf-8" else "#"
        self.tally: Counter[str] = Counter()  # accepted, done, dead, refused, unknown; working now
        self.bytes = 0  # of accepted images

    def skipped(self, files: list[File]) -> None:
        """Report the skipped files of folders with reasons: each as JSON, or their counts as text."""
        if self._json:
            for file in files:
                write({"file": file.path, "state": "skipped"} | _why("FILE", file.problem))
            return
        first: dict[str, str] = {}
        counts = Counter(file.problem for file in files)
        for file in files:
            first.setdefault(file.problem, file.name)
        parts = (
            f"{count} {reason} ({first[reason]}{', …' if count > 1 else ''})" for reason, count in counts.most_common()
        )
        if files:
            self._line(PASSED_OVER.format(len(files), "; ".join(parts)), to_people=True)

    def sending(self, image: Image) -> None:
        """Report that an image is being sent."""
        if self._wait and not self._json:
            self._line(SENDING.format(image.name, self._address))

    def accepted(self, image: Image, text: str, *, legacy: bool) -> None:
        """Report that the server accepted an image; the legacy protocol has no ids."""
        self.tally["accepted"] += 1
        self.bytes += image.size
        if self._json:
            write(_fields(image, "accepted"))
        elif self._wait:
            self._line(SUCCESS.format(text))
        else:
            self._line(f"{'-' if legacy else image.id}  {image.name}")

    def refused(self, path: str, code: str, text: str, image: Image | None = None) -> None:
        """Report that an image was rejected, with the reason."""
        self.tally["refused"] += 1
        if self._json:
            write((_fields(image, "refused") if image else {"file": path, "state": "refused"}) | _why(code, text))
        else:
            self._line(FAILURE.format(f"{path}: {text}" if self._count > 1 else text), to_people=not self._wait)

    def changed(self, image: Image, status: native.Status, *, was_working: bool) -> None:
        """Report a change of status; final ones are printed."""
        self.tally["working"] += (status.state == native.WORKING) - was_working
        if status.state in (native.QUEUED, native.WORKING):
            return
        self.tally[STATES[status.state]] += 1
        if self._json:
            write(_fields(image, "unknown") | status_fields(status) | {"filename": image.name, "trace_id": image.trace})
        elif status.state == native.DONE:
            self._line(DONE.format(image.name, status.url))
        elif status.state == native.DEAD:
            self._line(DEAD.format(image.name, f"{status.reason} ({image.id})"))
        else:
            self._line(f"{LOST.format(image.name)} ({image.id})")

    def interrupted(self, accepted: list[Image], in_doubt: list[Image]) -> None:
        """Report the images without a final status when the command is interrupted."""
        self._clear()
        if self._json:
            for image in in_doubt:
                write(_fields(image, "in doubt"))
            return
        for image in accepted:
            self._line(f"{image.id}  {image.name}  aceita")
        for image in in_doubt:
            self._line(f"{image.id}  {image.name}  em dúvida", to_people=not self._wait)

    def summary(self, in_doubt: int = 0) -> None:
        """Print the totals of several images."""
        self._clear()
        if self._count <= 1 or self._json:
            return
        seconds = max(time.monotonic() - self._began, 1e-3)
        rate = _decimal(self.bytes / _MB / seconds)
        unsent = self._count - self.tally["accepted"] - self.tally["refused"] - in_doubt
        more = f", {unsent} não enviadas" if unsent else ""
        self._line(f"{self._sums()}{more} em {_decimal(seconds)} s ({rate} MB/s)", to_people=not self._wait)

    def draw(self, sent: int) -> None:
        """Redraw the progress bar; `sent` is in bytes."""
        if not self._shows_bar:
            return
        ended = self.tally["refused"] + self.tally["done"] + self.tally["dead"] + self.tally["unknown"]
        progress = (
            ended / self._count if self.follows else (self.tally["accepted"] + self.tally["refused"]) / self._count
        )
        bytes_progress = min(1.0, sent / self._size) if self._size else 1.0
        done = min(1.0, (progress + bytes_progress) / 2)
        rate = _decimal(sent / _MB / max(time.monotonic() - self._began, 1e-3))
        text = f"{self._bar(done)} {done:4.0%}  {self._sums()} · {rate} MB/s"
        columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80  # a serial line has none
        sys.stderr.write(f"\r\x1b[K{text[: columns - 1]}")
        sys.stderr.flush()
        self._bar_drawn = True

    def _bar(self, done: float) -> str:
        whole, rest = divmod(int(done * _WIDTH * 8), 8)
        part = _EIGHTHS[rest] if self._full == "█" else " "
        return f"[{(self._full * whole + part)[:_WIDTH]:<{_WIDTH}}]"

    def _sums(self) -> str:
        tally = self.tally
        parts = [(tally["done"], "feita"), (tally["dead"], "morta"), (tally["refused"], "recusada")]
        if not self.follows:
            parts = [(tally["accepted"], "aceita"), (tally["refused"], "recusada")]
        text = ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in parts)
        return text + (f", {tally['unknown']} desconhecidas" if tally["unknown"] else "")

    def _line(self, text: str, *, to_people: bool = False) -> None:
        """Print a line above the bar; on standard error where the standard output is for ids."""
        self._clear()
        print(printable(text), file=sys.stderr if to_people else sys.stdout, flush=True)

    def _clear(self) -> None:
        if self._bar_drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._bar_drawn = False


def _fields(image: Image, state: str) -> dict[str, Any]:
    return {
        "id": image.id,
        "filename": image.name,
        "file": image.path,
        "state": state,
        "trace_id": image.trace,
        "size": image.size,
    }


def _why(code: str, text: str) -> dict[str, str]:
    return {"code": code, "reason": text}


def _decimal(number: float) -> str:
    return f"{number:.1f}".replace(".", ",")
