"""Text to syntax tree, with every fault of the text. Never knows what a name means."""
