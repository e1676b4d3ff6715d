"""The command line: verbs, options, printing and exit codes. Never sends a request and never opens a store."""
