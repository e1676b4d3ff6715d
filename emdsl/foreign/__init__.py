"""Answers that other tools have paid for: their files to what was asked and what came back. Never writes a store."""
