"""A study from Python: plans, runs, outcomes as Arrow. Never asks by itself: `emdsl run` does, in its own process."""
