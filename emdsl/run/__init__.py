"""Walks a program's cells: the store first, then the provider. Never sees a span or a syntax tree."""
