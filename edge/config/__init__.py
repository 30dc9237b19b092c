"""config.yaml → validated, frozen settings → the figures that the core works with.

`load` and `read` take a file, `edge.config.check` prints what is wrong with it, `edge.config.derive` does the commit-time
arithmetic, `edge.config.change` compares two settings.
"""

from edge.config.loader import ConfigError, Result, load, read
from edge.config.settings import Settings
from edge.strict_yaml import Problem

__all__ = ["ConfigError", "Problem", "Result", "Settings", "load", "read"]
