"""Release archives of `make dist`: one relocatable directory for each Debian release and architecture, signed.

v2g-edge-<version>-debian12-amd64.tar.gz unpacks to one folder with `bin/`, `lib/` (our code and every locked dependency) and
`systemd/`. It needs Debian's python3 and nothing else: no pip, no virtual environment, no network on the gateway.
"""
