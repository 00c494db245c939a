"""Steps up the ELBO until it does not rise any more."""

import math
from collections.abc import Callable

import torch

from causalppl.exceptions import ConvergenceWarning, FitError
from causalppl.inference.progress import progress_bar
from causalppl.user_warning import warn_user

WINDOW = 50
"""Steps between two looks at the ELBO."""


def ascend(
    step: Callable[[int], float],
    num_steps: int,
    *,
    least_rise: float,
    remedy: str,
    progress: bool,
) -> list[float]:
    """Take steps until the ELBO has not risen over two windows.

    Args:
        step: Takes the step of a number, counted from 0; returns the ELBO, in nats.
        num_steps: How many to take at most.
        least_rise: Rise over a window, in nats, that counts as none.
        remedy: What to check if the ELBO is not finite.
        progress: Show a progress bar.

    Returns:
        The ELBO at each step.

    Raises:
        FitError: The ELBO is not finite.

    Warns:
        ConvergenceWarning: It was still rising at the last step.
    """
    trace: list[float] = []
    watch = _Convergence(least_rise)
    with progress_bar(num_steps, "fitting the guide", progress=progress) as bar:
        for number in range(num_steps):
            trace.append(step(number))
            if not math.isfinite(trace[-1]):
                raise FitError(
                    f"the ELBO became {trace[-1]} at step {number}; lower learning_rate, or "
                    f"check {remedy}"
                )
            bar.update()
            if (number + 1) % WINDOW == 0 and watch.has_converged(trace):
                break
    watch.warn_if_rising(trace)
    return trace


class _Convergence:
    """Watch the ELBO, window by window."""

    def __init__(self, least_rise: float) -> None:
        self._least_rise = least_rise
        self._quiet = 0
        self._risen = False

    def has_converged(self, trace: list[float]) -> bool:
        last = torch.tensor(trace[-WINDOW:], dtype=torch.float64)
        if float(last.max() - last.min()) < self._least_rise:  # the guide is exact
            self._quiet, self._risen = 2, False
            return True
        if len(trace) < 2 * WINDOW:
            return False
        before = torch.tensor(trace[-2 * WINDOW : -WINDOW], dtype=torch.float64)
        rise = float(last.mean() - before.mean())
        noise = math.sqrt(float(last.var() + before.var()) / WINDOW)
        self._risen = rise > max(self._least_rise, 2 * noise)
        self._quiet = 0 if rise > max(self._least_rise, noise) else self._quiet + 1
        return self._quiet >= 2

    def warn_if_rising(self, trace: list[float]) -> None:
        if self._quiet < 2 and self._risen:
            warn_user(
                f"the ELBO was still rising after {len(trace)} steps; raise num_steps",
                ConvergenceWarning,
            )
