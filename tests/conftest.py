"""For every test: hypothesis judges results, not how fast this machine is today."""

from hypothesis import settings

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
