"""Where the server keeps its tasks: in memory or in the database."""
