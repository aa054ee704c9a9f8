"""`frota peers serve | work | submit | result | status | dead | history`."""

import argparse
import re
from functools import partial

from frota.core import commands
from frota.logs import log
from frota.peers import client_settings
from frota.peers.execution import Accounts
from frota.peers.protocol.messages import MAX_USER_CHARACTERS
from frota.peers.settings import (
    PREFIX,
    SERVER_UNIT,
    SYSTEM,
    WORKER_UNIT,
    MigrationOptions,
    ServerSettings,
    WorkerSettings,
)
from frota.storage.state_folder import default_directory


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add this system's commands to its parser."""
    group = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    example = "frota peers serve --host 127.0.0.1 --port 8765 --state-dir peers"
    serve = commands.add(group, "serve", _serve, "accept tasks, give them to workers, lend and borrow workers", example)
    commands.configurable(serve, ServerSettings, PREFIX)
    example = "frota peers work --host 127.0.0.1 --port 8765 --state-dir worker"
    work = commands.add(group, "work", _work, "execute tasks of a server", example)
    commands.configurable(work, WorkerSettings, PREFIX)
    example = "frota peers migrate --database mariadb://frota_admin@127.0.0.1:3306/frota"
    migrate = commands.add(group, "migrate", _migrate, "bring the database's schema to this release", example)
    migrate.add_argument("--to", metavar="REVISION", help="go back to an earlier revision, base to drop everything")
    migrate.add_argument("--examples", action="store_true", help="create nine accounts to try it with")
    text = "create an account of 0.00 unless there is one"
    migrate.add_argument("--account", type=_account, action="append", metavar="CPF:NAME", help=text)
    commands.configurable(migrate, MigrationOptions, PREFIX)
    _add_submit(group)
    _add_views(group)


def _add_submit(group: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    example = "frota peers submit query --cpf 11111111111 --host 127.0.0.1 --port 8765"
    submit = commands.add(group, "submit", _client("submit"), "submit tasks, and wait for their results", example)
    text = "query, update, noop, or a FILE with tasks as lines of JSON, - for standard input"
    submit.add_argument("what", metavar="WHAT", help=text)
    submit.add_argument("--cpf", help="the account: 11 digits")
    submit.add_argument("--user", help="the account of a query, by its user's name")
    submit.add_argument("--saldo", metavar="BALANCE", help="what an update sets, for example 99.99")
    submit.add_argument("--count", type=int, default=1, metavar="N", help="number of noop tasks (%(default)s)")
    submit.add_argument("--no-wait", action="store_true", help="print the ids instead of the results")
    _add_server(submit, timeout=True)
    example = "frota peers result 0190c1f0a5c00f3a6f0c2a7be1d40001 --host 127.0.0.1"
    result = commands.add(group, "result", _client("result"), "print the results of tasks, by their ids", example)
    result.add_argument("ids", nargs="+", metavar="ID", help="ids of tasks")
    _add_server(result, timeout=True)


def _add_views(group: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    example = "frota peers status --host 127.0.0.1 --json"
    status = commands.add(group, "status", _client("status"), "show a server and its peers", example)
    status.add_argument("--watch", action="store_true", help="show it again and again")
    status.add_argument("--interval", type=float, default=1.0, metavar="SECONDS", help="of --watch (%(default)s)")
    _add_server(status)
    example = "frota peers dead retry 0190c1f0a5c00f3a6f0c2a7be1d40001 --host 127.0.0.1"
    dead = commands.add(group, "dead", _client("dead"), "list, retry or drop tasks that have failed too often", example)
    dead.add_argument("action", choices=("list", "retry", "drop"), help="list them, queue them again, or delete them")
    dead.add_argument("ids", nargs="*", metavar="ID", help="ids of tasks (default: all dead ones)")
    dead.add_argument("--last", type=int, default=100, metavar="N", help="of list: maximum number (%(default)s)")
    _add_server(dead)
    example = "frota peers history --cpf 11111111111 --host 127.0.0.1"
    history = commands.add(group, "history", _client("history"), "print the changes of a balance", example)
    history.add_argument("--cpf", required=True, help="the account: 11 digits")
    history.add_argument("--last", type=int, default=100, metavar="N", help="maximum number (%(default)s)")
    _add_server(history)


def _add_server(parser: argparse.ArgumentParser, *, timeout: bool = False) -> None:
    commands.configurable(parser, client_settings.ClientSettings, PREFIX)
    if timeout:
        text = "how long to wait for results (%(default)s)"
        parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help=text)
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for machines")


def _serve(args: argparse.Namespace) -> int:
    reread = partial(commands.read, ServerSettings, PREFIX, args)
    return commands.serve(args, SYSTEM, SERVER_UNIT, reread, "frota.peers.server.server:PeerServer")


def _work(args: argparse.Namespace) -> int:
    log.configure(SYSTEM, WORKER_UNIT)
    config = commands.read(WorkerSettings, PREFIX, args)
    if args.check:
        return 0
    from frota.core import service
    from frota.peers.worker.worker import PeerWorker

    log.configure(SYSTEM, WORKER_UNIT, config.log_level)
    accounts: Accounts | None = None
    if config.database:
        from frota.peers.database.accounts import AccountStore  # here: a worker without does without SQLAlchemy
        from frota.peers.database.database import open_database

        folder = config.state_dir or default_directory(WORKER_UNIT)
        accounts = AccountStore(open_database(config, folder))
    return service.run(partial(PeerWorker, config, accounts))


def _migrate(args: argparse.Namespace) -> int:
    log.configure(SYSTEM, SERVER_UNIT)
    config = commands.read(MigrationOptions, PREFIX, args)
    if args.check:
        return 0
    from frota.peers.database import migration, setup
    from frota.peers.database.database import open_database

    folder = config.state_dir or default_directory(SERVER_UNIT)
    folder.mkdir(parents=True, exist_ok=True)
    database = open_database(config, folder)
    if args.to:
        migration.downgrade(database, args.to)
    elif setup.migrate(database, examples=args.examples, accounts=dict(args.account or ())):
        print("migrated the database to the schema of this release")
    else:
        print("the database has the schema of this release")
    database.close()
    return 0


def _account(text: str) -> tuple[str, str]:
    """Return CPF and name. Raises ArgumentTypeError."""
    cpf, _, name = text.partition(":")
    if not re.fullmatch("[0-9]{11}", cpf) or not 0 < len(name) <= MAX_USER_CHARACTERS:
        limit = f"11 digits and at most {MAX_USER_CHARACTERS} characters"
        raise argparse.ArgumentTypeError(f"{text!r}: must be CPF:NAME, {limit}")
    return cpf, name


def _client(name: str) -> commands.Handler:
    def run(args: argparse.Namespace) -> int:
        from frota.peers.client import commands as client

        command = {
            "submit": client.submit,
            "result": client.result,
            "status": client.status,
            "dead": client.dead,
            "history": client.history,
        }[name]
        config = client_settings.read(args)
        return 0 if args.check else command(args, config)

    return run
