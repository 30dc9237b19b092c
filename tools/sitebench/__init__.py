"""Steps of the site's target: what came of them, and how that looks."""

from tools.sitebench.steps import Step, plot, steps_of

__all__ = ["Step", "plot", "steps_of"]
