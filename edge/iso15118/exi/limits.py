"""Bounds of what the codec accepts, the same in the C engine (native/exi/exi.h) and in the reference engine."""

MAX_BYTES = 1 << 20
"""Octets of one message; a schedule exchange with 1024 entries needs some 100 kB."""
MAX_ELEMENTS = 1 << 18
"""Elements of one message, so that a small hostile message can't become a huge object."""
MAX_BIG_OCTETS = 32
"""Octets of an unlimited integer; certificate serial numbers have at most 20 (RFC 5280)."""
