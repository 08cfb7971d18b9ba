"""The environment, checked before anything slow is loaded."""

import os
import sys

GREETING = os.environ.get("GREETING", "").strip()
if not GREETING:
    sys.exit("GREETING: missing")
