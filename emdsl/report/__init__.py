"""Results as charts and as one page. Never sends a request, never reads a store, and needs no network."""
