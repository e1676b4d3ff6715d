"""The viewer: a study in a browser of this machine. Never sends a request, and writes annotations alone."""
