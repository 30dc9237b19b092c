"""The V2G edge gateway: see README.md for the picture, native/include/v2g.h for the data sheet of the core."""

__version__ = "0.1.0"
