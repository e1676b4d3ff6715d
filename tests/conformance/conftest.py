"""The clients of providers are found where `make conformance` installs them, after all that is installed here."""

import os
import sys
import sysconfig
from pathlib import Path

BASE = str(Path(os.environ["CONFORMANCE_BIN"]).parent)
sys.path.append(sysconfig.get_path("purelib", "venv", vars={"base": BASE, "platbase": BASE}))
