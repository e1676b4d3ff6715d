"""Text to syntax tree, with every syntax error. Never resolves a name."""
