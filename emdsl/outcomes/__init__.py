"""Settled rows to DuckDB, and measures to SQL. Never asks, and never decides what is asked."""
