"""Settled rows to DuckDB, and measures to SQL. Never sends a request, and never chooses one."""
