"""Functions of `python f(x) from "f.py"`, run apart. Never knows a program, and lets no variable or network in."""
