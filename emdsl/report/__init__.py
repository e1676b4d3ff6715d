"""Outcomes as pictures and as one page. Never asks, never reads a store, and reaches no network."""
