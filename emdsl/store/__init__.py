"""Digest to response, durably. Never knows what a query meant, or who will read the answer."""
