"""The command line: wires the parts together, prints, and turns errors into exit codes."""
