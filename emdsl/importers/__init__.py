"""Readers of other tools' files: requests and paid answers. Never writes to a store."""
