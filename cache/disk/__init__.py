"""The store of a cache folder: a database in SQLite's format, its claims and its upkeep."""
