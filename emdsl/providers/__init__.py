"""Who answers queries: query to wire format and back. Never stores, retries or counts."""
