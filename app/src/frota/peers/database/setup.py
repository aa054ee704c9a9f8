"""Open the database for a service: with the schema of this release, an embedded one with example accounts, too."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

from frota.peers.database import revision
from frota.peers.database.accounts import Account, AccountStore
from frota.peers.database.config import DatabaseConfig
from frota.peers.database.database import Database, open_database
from frota.peers.example_accounts import ACCOUNTS, FIRST_BALANCE


def open_ready(config: DatabaseConfig, state_folder: Path) -> Database:
    """Return the database. An embedded file is created and migrated; a MariaDB has to be: `frota peers migrate`.

    Raises SchemaError, SettingsError, OSError.
    """
    database = open_database(config, state_folder)
    if config.server:
        revision.check(database)
    elif (found := database.read(revision.current)) != revision.REVISION:
        migrate(database, examples=not found)
    return database


def migrate(database: Database, *, examples: bool, accounts: Mapping[str, str] | None = None) -> bool:
    """Bring the schema to this release; return whether it was another one. Raises as above.

    Creates those of `accounts` (CPF to name) that there are not, with `examples` the example accounts, too.
    """
    from frota.peers.database import migration  # here: a service that has nothing to migrate does without its memory

    migrated = migration.upgrade(database)
    wanted = [Account(name, cpf, Decimal(0)) for cpf, name in (accounts or {}).items()]
    wanted += [Account(name, cpf, FIRST_BALANCE) for cpf, name in ACCOUNTS.items()] if examples else []
    if wanted:
        AccountStore(database).create(wanted)
    return migrated
