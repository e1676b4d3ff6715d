"""Reads datasets, one file a format. Never guesses a type, and knows nothing of the language."""
