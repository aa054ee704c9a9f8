"""The revisions of the schema, in Alembic's layout; they travel in the release."""
