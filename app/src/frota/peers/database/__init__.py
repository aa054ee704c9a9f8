"""The database of the peers: accounts, tasks and servers, in MariaDB or an embedded SQLite file."""
