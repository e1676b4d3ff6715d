"""The simulator: a real HTTP server with known ground truth. Knows wire formats, never a study."""
