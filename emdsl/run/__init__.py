"""Plans the requests of a program, and sends those that are not stored. Never sees a span or a syntax tree."""
