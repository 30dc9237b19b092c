"""v2g-edge on a machine whose clock nothing synchronises, whatever the clock of this one does."""

import sys

from edge.gateway.main import main
from edge.local import host
from edge.uplink.clock import Clock

if __name__ == "__main__":
    assert Clock.__init__.__kwdefaults__ is not None
    Clock.__init__.__kwdefaults__["synchronised"] = lambda: False
    host.clock_synchronised = lambda: False
    sys.exit(main())
