"""The EXI codec beside EXIficient, µs per message (build/bench/exi.json). Needs Java; tools/prepare installs it."""

import subprocess
import sys

sys.exit(subprocess.run(["native/exi/bench"], check=False).returncode)
