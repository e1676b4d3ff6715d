"""The embedded simulator: a real HTTP server with known ground truth. Knows the wire format, and no study."""
