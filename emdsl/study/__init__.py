"""The application: studies as objects, with everything that a terminal or a notebook shows. Never imports click."""
