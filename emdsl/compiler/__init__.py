"""Syntax tree to plan: names to values, axes to cells, cells to steps. Never asks, stores or prints."""
