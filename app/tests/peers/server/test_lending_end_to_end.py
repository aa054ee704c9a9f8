"""Two servers lend each other workers, on real sockets."""

import asyncio
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

from frota.peers.client import output
from frota.peers.client.servers import Servers
from frota.peers.client_settings import ClientSettings
from frota.peers.lending.membership import State
from frota.peers.protocol.messages import QUERY, Address, Task
from frota.peers.server.server import PeerServer
from frota.peers.settings import Peer, join_address
from support import reserved_port
from support.peers import FAST, SlowAccounts, serving, submit, until, working

_BURST = 400
_SERVICE_S = 0.01


def _home(server: PeerServer) -> int:
    count = server.lending.members.count()
    return count[State.OWN_IDLE] + count[State.OWN_BUSY]


def _borrowed(server: PeerServer) -> int:
    count = server.lending.members.count()
    return count[State.BORROWED_IDLE] + count[State.BORROWED_BUSY]


async def _pair(stack: AsyncExitStack, folder: Path, workers: int) -> tuple[PeerServer, PeerServer]:
    ports = [stack.enter_context(reserved_port()) for _ in range(2)]
    servers = []
    for name, port, other in (("A", ports[0], ports[1]), ("B", ports[1], ports[0])):
        peers = (Peer(Address("127.0.0.1", other)),)
        servers.append(await stack.enter_async_context(serving(folder, port=port, name=name, peers=peers, **FAST)))
    for server in servers:
        for number in range(workers):
            name = f"{server.lending.server}{number}"
            await stack.enter_async_context(working(server, name, SlowAccounts(_SERVICE_S), capacity=2))
    a, b = servers
    await until(lambda: _home(a) == _home(b) == workers, "not all workers have arrived")
    await until(lambda: all(peer["up"] for one in servers for peer in one.parts.peers()), "a peer is not up")
    return a, b


def test_saturated_server_borrows_all_and_returns_all(tmp_path: Path) -> None:
    """A burst at one server has all workers of both at work, and all are home after it."""

    async def play() -> None:
        async with AsyncExitStack() as stack:
            a, b = await _pair(stack, tmp_path, 2)
            ids = await submit(a, [Task(QUERY, "Ana")] * _BURST)
            await until(lambda: _borrowed(a) == 2, "the workers were not lent")
            assert _home(b) == 0
            results = await a.results.results(ids, 30)
            assert all(result.ok for result in results)
            await until(lambda: _home(a) == _home(b) == 2, f"not all are home: {list(a.lending.members)}", 10)

    asyncio.run(play())


def test_status_of_all_servers(tmp_path: Path) -> None:
    """The status of a server names what it borrowed from whom, and what its peer says of itself."""

    async def play() -> None:
        async with AsyncExitStack() as stack:
            a, b = await _pair(stack, tmp_path, 2)
            await submit(a, [Task(QUERY, "Ana")] * _BURST)
            await until(lambda: _borrowed(a) == 2, "the workers were not lent")
            (peer,) = (await _status(a))["peers"]
            assert (peer["server"], peer["lent"], peer["borrowed"]) == ("B", 0, 2)
            assert (peer["workers"]["own"], peer["workers"]["lent"]) == (2, 2)
            (peer,) = (await _status(b))["peers"]
            assert (peer["server"], peer["lent"], peer["borrowed"]) == ("A", 2, 0)
            assert peer["queue"]["waiting"] > 0
            text = output.status(await _status(b), as_json=False)
            assert f"peer      A at {peer['address']}, up; 2 workers lent to it, 0 borrowed from it" in text

    asyncio.run(play())


async def _status(server: PeerServer) -> dict[str, Any]:
    config = ClientSettings(host=join_address(server.lending_driver.address))
    with closing(Servers(config)) as servers:
        return await asyncio.to_thread(servers.status)


def test_borrowed_workers_go_home_when_the_borrower_is_killed(tmp_path: Path) -> None:
    """Workers on loan go home by themselves when their borrower is gone."""

    async def play() -> None:
        async with AsyncExitStack() as stack:
            a, b = await _pair(stack, tmp_path, 2)
            await submit(a, [Task(QUERY, "Ana")] * _BURST)
            await until(lambda: _borrowed(a) == 2, "the workers were not lent")
            a.tcp.stop_accepting()
            for connection in a.tcp.connections:
                connection.abort("killed")
            await until(lambda: _home(b) == 2, "not all are home", 20)

    asyncio.run(play())
