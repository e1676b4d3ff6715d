"""Model providers: query to wire format and back. Never stores, retries or counts."""
