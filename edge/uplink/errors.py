"""The one exception of this boundary."""


class UplinkError(RuntimeError):
    """The uplink can't start or store. The message names the file or key, what is wrong and the remedy."""
