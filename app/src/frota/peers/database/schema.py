"""The tables. `migrations` creates and changes them; a test compares the two.

`users` and `contas` have the names and columns of the wire contract.
"""

from sqlalchemy import Column, Enum, ForeignKey, Index, Integer, MetaData, Table, text

from frota.peers.database.columns import Moment, Money, Serial, ascii_key, exact_text
from frota.peers.protocol.messages import (
    DEAD,
    DONE,
    KINDS,
    LEASED,
    MAX_ERROR_CHARACTERS,
    MAX_NAME_CHARACTERS,
    MAX_USER_CHARACTERS,
    WAITING,
)

CPF_DIGITS = 11
ID_DIGITS = 32  # hexadecimal ones, of a task or a trace
STATES = (WAITING, LEASED, DONE, DEAD)

metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s"}
)

users = Table(
    "users",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("nome", exact_text(MAX_USER_CHARACTERS), nullable=False, index=True),  # not unique: people share names
    Column("cpf", ascii_key(CPF_DIGITS), nullable=False, unique=True),
    mysql_engine="InnoDB",
)

contas = Table(
    "contas",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("fk_id_user", Serial, ForeignKey("users.id"), nullable=False, unique=True),  # an account for each user
    Column("saldo", Money, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    mysql_engine="InnoDB",
)

# Every change of a balance. The unique task id is the idempotency key: a task changes a balance once.
balance_history = Table(
    "balance_history",
    metadata,
    Column("id", Serial, primary_key=True),  # ascending for the changes of an account
    Column("task_id", ascii_key(ID_DIGITS), nullable=False, unique=True),
    Column("account_id", Serial, nullable=False),
    Column("old_balance", Money, nullable=False),
    Column("new_balance", Money, nullable=False),
    Column("changed_at", Moment, nullable=False),
    Column("worker", exact_text(MAX_NAME_CHARACTERS), nullable=False),
    Column("trace_id", ascii_key(ID_DIGITS), nullable=False),
    Index(None, "account_id", "id"),
    mysql_engine="InnoDB",
    sqlite_autoincrement=True,
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", ascii_key(ID_DIGITS), primary_key=True),
    Column("owner", exact_text(MAX_NAME_CHARACTERS), nullable=False),  # a server
    Column("owner_epoch", Integer, nullable=False),
    Column("kind", Enum(*KINDS, name="kind", create_constraint=False), nullable=False),
    Column("account", exact_text(MAX_USER_CHARACTERS), nullable=False),
    Column("balance", Money),  # what an UPDATE sets; once a QUERY is done, what it read
    Column("state", Enum(*STATES, name="state", create_constraint=False), nullable=False, server_default=WAITING),
    Column("attempts", Integer, nullable=False, server_default="0"),  # failed ones
    Column(
        "holder", exact_text(MAX_NAME_CHARACTERS), nullable=False, server_default=text("''")
    ),  # the worker that has or had the lease
    Column("lease_end", Moment),
    Column("trace_id", ascii_key(ID_DIGITS), nullable=False),
    Column("accepted_at", Moment, nullable=False),
    Column("finished_at", Moment),  # when it was done or died
    # Of the last failure; "" if it is done and OK.
    Column("reason", exact_text(MAX_ERROR_CHARACTERS), nullable=False, server_default=text("''")),
    Index(None, "owner", "state", "accepted_at"),
    mysql_engine="InnoDB",
)

servers = Table(
    "servers",
    metadata,
    Column("id", exact_text(MAX_NAME_CHARACTERS), primary_key=True),
    Column("epoch", Integer, nullable=False),  # one more at each start and take-over: writes of earlier ones fail
    Column("seen_at", Moment, nullable=False),  # by the clock of the database
    mysql_engine="InnoDB",
)
