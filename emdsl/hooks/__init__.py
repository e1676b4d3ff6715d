"""Functions of `python f(x) from "f.py"`, each file in a process of its own. Never lets variables or network in."""
