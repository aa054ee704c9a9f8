"""Create accounts, their history, tasks and servers.

MariaDB has no transactions for tables: a killed migration is repeated from its beginning. So every step has to bear a
repetition (`if_not_exists`, `if_exists`). The columns are written out here, because a revision never changes again.
"""

import sqlalchemy as sa
from alembic import op

from frota.peers.database.columns import Moment, Money, Serial, ascii_key, exact_text

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = ("servers", "tasks", "balance_history", "contas", "users")
_INDEXES = (("users", "nome"), ("balance_history", "account_id", "id"), ("tasks", "owner", "state", "accepted_at"))


def upgrade() -> None:
    """Create all tables."""
    _create_accounts()
    _create_history()
    _create_tasks()
    _create_servers()
    for table, *columns in _INDEXES:
        op.create_index(f"ix_{table}_{'_'.join(columns)}", table, columns, if_not_exists=True)


def downgrade() -> None:
    """Drop all tables with what is in them."""
    for table in _TABLES:
        op.drop_table(table, if_exists=True)


def _create_accounts() -> None:
    op.create_table(
        "users",
        sa.Column("id", Serial, primary_key=True),
        sa.Column("nome", exact_text(50), nullable=False),
        sa.Column("cpf", ascii_key(11), nullable=False),
        sa.UniqueConstraint("cpf", name="uq_users_cpf"),
        mysql_engine="InnoDB",
        if_not_exists=True,
    )
    op.create_table(
        "contas",
        sa.Column("id", Serial, primary_key=True),
        sa.Column("fk_id_user", Serial, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("saldo", Money, nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.Column("updated_at", Moment, nullable=False),
        sa.UniqueConstraint("fk_id_user", name="uq_contas_fk_id_user"),
        mysql_engine="InnoDB",
        if_not_exists=True,
    )


def _create_history() -> None:
    op.create_table(
        "balance_history",
        sa.Column("id", Serial, primary_key=True),
        sa.Column("task_id", ascii_key(32), nullable=False),
        sa.Column("account_id", Serial, nullable=False),
        sa.Column("old_balance", Money, nullable=False),
        sa.Column("new_balance", Money, nullable=False),
        sa.Column("changed_at", Moment, nullable=False),
        sa.Column("worker", exact_text(64), nullable=False),
        sa.Column("trace_id", ascii_key(32), nullable=False),
        sa.UniqueConstraint("task_id", name="uq_balance_history_task_id"),
        mysql_engine="InnoDB",
        sqlite_autoincrement=True,
        if_not_exists=True,
    )


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", ascii_key(32), primary_key=True),
        sa.Column("owner", exact_text(64), nullable=False),
        sa.Column("owner_epoch", sa.Integer, nullable=False),
        sa.Column("kind", sa.Enum("QUERY", "UPDATE", "NOOP", name="kind", create_constraint=False), nullable=False),
        sa.Column("account", exact_text(50), nullable=False),
        sa.Column("balance", Money),
        sa.Column(
            "state",
            sa.Enum("WAITING", "LEASED", "DONE", "DEAD", name="state", create_constraint=False),
            nullable=False,
            server_default="WAITING",
        ),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("holder", exact_text(64), nullable=False, server_default=sa.text("''")),
        sa.Column("lease_end", Moment),
        sa.Column("trace_id", ascii_key(32), nullable=False),
        sa.Column("accepted_at", Moment, nullable=False),
        sa.Column("finished_at", Moment),
        sa.Column("reason", exact_text(500), nullable=False, server_default=sa.text("''")),
        mysql_engine="InnoDB",
        if_not_exists=True,
    )


def _create_servers() -> None:
    op.create_table(
        "servers",
        sa.Column("id", exact_text(64), primary_key=True),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("seen_at", Moment, nullable=False),
        mysql_engine="InnoDB",
        if_not_exists=True,
    )
