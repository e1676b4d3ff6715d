"""Responses by digest, durably. Never knows what a query means, or who reads the answer."""
