"""The dashboard: starts, reloads and stops its parts.

What is shown comes from `sources/` and `journal_reader.py`, is queued for each page by `viewers.py`, and sent by
`web.py`, which `guard.py` protects.
"""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import IO, Any

from frota.core import commands
from frota.core.errors import StateError
from frota.core.tasks import EssentialTasks, essential
from frota.logs import log
from frota.net.addresses import is_loopback
from frota.net.http import MonitoringServer
from frota.net.listen import address_of, listening_sockets
from frota.observer import settings
from frota.observer.dashboard.connections import Connections, HttpServer
from frota.observer.dashboard.guard import Guard
from frota.observer.dashboard.journal_reader import JournalReader
from frota.observer.dashboard.metrics import metrics
from frota.observer.dashboard.sources.cpu import Cpu
from frota.observer.dashboard.sources.fleet import Fleet, Prometheus
from frota.observer.dashboard.sources.images import Images
from frota.observer.dashboard.sources.lists import ListPart
from frota.observer.dashboard.sources.parts import Parts
from frota.observer.dashboard.sources.peers import Peers
from frota.observer.dashboard.sources.poller import Source, poll
from frota.observer.dashboard.sources.sensors import Sensors
from frota.observer.dashboard.users import Users
from frota.observer.dashboard.viewers import STATE, Viewers
from frota.observer.dashboard.web import Shown, Web
from frota.observer.settings import PREFIX, DashboardSettings
from frota.storage import state_folder

_BACKLOG = 256
_SWEEP_S = 1.0


class Dashboard:
    """The service behind `frota dashboard serve`; `reread` returns the settings anew, `end` stops the process."""

    def __init__(
        self, config: DashboardSettings, reread: Callable[[], DashboardSettings], end: Callable[[int], None]
    ) -> None:
        self.settings, self._reread, self._end = config, reread, end
        self._tasks = EssentialTasks(end)
        self.viewers = Viewers(config.viewers)
        self.parts = Parts(self._publish_state)
        self.journals = JournalReader(config.journal_dir, self.viewers, self._publish_state)
        self._connections = Connections()
        self._lock: IO[str] | None = None

    async def start(self) -> str:
        """Read the users, and listen. Raises OSError, StateError."""
        config = self.settings
        self.guard = Guard(self._users(), config.host)
        self._lock = state_folder.lock(config.directory)
        self._build()
        shown = Shown(self.viewers, self.journals, self._list, self._images)
        self._web = Web(self.guard, shown, self._connections.abort, _uploads(config.directory))
        sockets = listening_sockets(config.host, config.port, _BACKLOG)
        addresses = [address_of(sock) for sock in sockets]
        self._http = HttpServer(self._web.app(), self._connections, config.viewers)
        self._serving = essential(self._http.serve(sockets), self._end)
        await self._http.ready.wait()
        own = metrics(self.viewers, self.guard, self.journals, self.parts, self._connections)
        self._monitoring = MonitoringServer(own, self._tasks.alive)
        await self._monitoring.start(config.metrics_host, config.metrics_port)
        self._tasks.start(self._sweep(), self.viewers.flush_records(), self.journals.run(), *self._pollers())
        self._log_start(addresses)
        return f"listening on {', '.join(addresses)}"

    async def stop(self) -> None:
        """End the pages' streams, answer what was received, close."""
        self.viewers.close("stop")
        self._http.should_exit = True
        await self._tasks.cancel()
        await self._monitoring.stop()
        await asyncio.gather(self._serving, return_exceptions=True)
        self._web.close()
        if self._prometheus:
            await self._prometheus.close()
        if self._images:
            await self._images.close()
        if self._lock:
            self._lock.close()
        log.record("INFO", "stopped", "stopped")

    def healthy(self) -> bool:
        """Tell whether the essential tasks run."""
        return self._tasks.alive()

    def reload(self) -> None:
        """Read the settings and the users again. Raises SettingsError."""
        config, users = self._reread(), self.guard.users
        if users is not None:
            self.guard.users = self._users()
            self.guard.sessions.keep(self.guard.users.by_name if self.guard.users else {}, users.by_name)
        self.settings = commands.take_live(self.settings, config, PREFIX)
        self.viewers.limit = self.settings.viewers
        log.configure(settings.SYSTEM, settings.DASHBOARD_UNIT, self.settings.log_level)

    def _users(self) -> Users | None:
        """Read the users. Raises StateError without a file where others than this host could look."""
        config = self.settings
        if config.users:
            return Users.read(config.users)
        if not is_loopback(config.host):
            raise StateError(
                f"refusing to serve without a login on {config.host}: set {PREFIX}USERS_FILE, "
                "whose lines `frota dashboard password NAME` prints"
            )
        return None

    def _build(self) -> None:
        config = self.settings
        self._prometheus = Prometheus(config.prometheus) if config.prometheus else None
        self._list = ListPart(config.list) if config.list else None
        self._sensors = Sensors(config.sensors) if config.sensors else None
        self._images = Images(config.images, self.parts, self._publish_image) if config.images else None
        self._sources: list[Source] = [
            *([Fleet(self._prometheus)] if self._prometheus else ()),
            *([self._list] if self._list else ()),
            *([self._sensors] if self._sensors else ()),
            *([Cpu(config.cpu)] if config.cpu else ()),
            *([Peers(config.peers)] if config.peers else ()),
        ]
        for source in self._sources:
            self.parts.configure(source.name)
        self.parts.configure("journals")
        if self._images:
            self.parts.configure("images")
            self.viewers.keep("images", self._images.latest)
        self.viewers.keep(STATE, self._state)

    def _pollers(self) -> list[Coroutine[None, None, None]]:
        pollers: list[Coroutine[None, None, None]] = [
            poll(source, self.viewers, self.parts) for source in self._sources
        ]
        return [*pollers, self._images.run()] if self._images else pollers

    def _state(self) -> dict[str, Any]:
        journals = {"state": "unavailable", "reason": self.journals.error} if self.journals.error else {"state": "ok"}
        return {"parts": {**self.parts.states, "journals": journals}, "disk": self.journals.disk()}

    def _publish_state(self) -> None:
        self.viewers.publish(STATE, self._state())

    def _publish_image(self, image: dict[str, Any]) -> None:
        self.viewers.publish("images", [image])

    async def _sweep(self) -> None:
        """Refill rate limits, and note what only time changes."""
        low = False
        while True:
            self._web.sweep()
            if self._sensors and not self.viewers.wants("sensors"):
                self._sensors.stop()
            disk = self.journals.disk()
            if disk and bool(disk["low"]) != low:
                low = bool(disk["low"])
                self._publish_state()
                if low:
                    text = f"{self.settings.journal_dir}: the disk is nearly full"
                    log.record("WARNING", "disk_low", f"{text}: older records are deleted, new ones may be missing")
            await asyncio.sleep(_SWEEP_S)

    def _log_start(self, addresses: list[str]) -> None:
        for address in addresses:
            log.record("INFO", "starting", f"the page is at http://{address}", ADDRESS=address)
        if self.guard.users is None:
            text = f"no login: everybody on this host may look, nobody may change anything ({PREFIX}USERS_FILE)"
            log.record("WARNING", "login_disabled", text)


def _uploads(directory: Path) -> Path:
    """Return the folder of uploads, without what an interrupted run has left."""
    folder = directory / "uploads"
    folder.mkdir(mode=0o700, exist_ok=True)
    for file in folder.iterdir():
        file.unlink(missing_ok=True)
    return folder
