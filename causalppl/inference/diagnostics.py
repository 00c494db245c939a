"""How far draws can be trusted: effective size, convergence, Monte Carlo error, Pareto k-hat.

| name | what it does | paper |
|---|---|---|
| `ess` | effective number of draws | Vehtari et al. (2021); Geyer (1992) |
| `mcse` | Monte Carlo standard error of the mean | Vehtari et al. (2021) |
| `psis` | smooth and judge importance weights | Vehtari et al. (2024); Zhang, Stephens (2009) |
| `rhat` | rank-normalised split R-hat of Markov chains | Vehtari et al. (2021) |

Every function is vectorised over trailing axes (units, events). Pieces of the trailing axes are
worked on one after the other, so that memory does not grow with their number.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from causalppl.exceptions import DataError
from causalppl.inference.laws import CHUNK

__all__ = ["ess", "mcse", "psis", "rhat"]

Array: TypeAlias = npt.NDArray[np.float64]


def ess(draws: Any, *, log_weights: Any = None, is_independent: bool = False) -> float | Array:
    """Count the independent draws that would carry the same information.

    For Markov chains this is the bulk effective sample size: draws are split in half-chains,
    rank-normalised, and their autocorrelations summed up to Geyer's initial monotone sequence.

    Args:
        draws: Array of shape ``(chains, draws, *units)``.
        log_weights: Logarithms of importance weights, shape ``(chains, draws)`` or
            ``(chains, draws, *units)``; the result is then ``1 / sum(w**2)``.
        is_independent: The draws are independent, so that the answer is their number.

    Returns:
        Effective sizes, shape ``units``; a float when there are no units. NaN when a chain has
        fewer than four draws.

    Raises:
        DataError: ``draws`` has fewer than two axes, or the weights cannot be normalised.

    References:
        Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), sections 3.2 and 4.1.
        Geyer (1992), Practical Markov chain Monte Carlo, section 3.3.

    Example:
        >>> ess(np.zeros((2, 50)), is_independent=True)
        100.0
        >>> round(ess(np.zeros((1, 3)), log_weights=np.log([[1.0, 1.0, 2.0]])), 3)
        2.667
    """
    x = _checked(draws)
    if log_weights is not None:
        weights = _normalised(log_weights, x)
        effective = 1 / (weights**2).sum(axis=(0, 1))
        return _out(np.broadcast_to(effective, x.shape[2:]).copy())
    if is_independent:
        return _out(np.full(x.shape[2:], float(x.shape[0] * x.shape[1])))
    return _columnwise(x, lambda piece: _effective_size(_rank_normalised(_split(piece))))


def mcse(draws: Any, *, log_weights: Any = None, is_independent: bool = False) -> float | Array:
    """Estimate the Monte Carlo standard error of the mean of the draws.

    Args:
        draws: Array of shape ``(chains, draws, *units)``.
        log_weights: As in :func:`ess`; the error is that of the self-normalised estimator,
            ``sqrt(sum(w**2 * (x - mean)**2))``.
        is_independent: The draws are independent: the error is ``sd / sqrt(number)``.

    Returns:
        Errors in the unit of the draws, shape ``units``; a float when there are no units.
        Never NaN: where the error cannot be estimated (too few draws) it is infinite.

    Raises:
        DataError: ``draws`` has fewer than two axes, or the weights cannot be normalised.

    References:
        Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), section 3.2.
        Owen (2013), Monte Carlo theory, methods and examples, equation 9.9.

    Example:
        >>> mcse(np.array([[0.0, 2.0]]), is_independent=True)
        1.0
    """
    x = _checked(draws)
    if log_weights is not None:
        weights = _normalised(log_weights, x)
        deviations = x - (weights * x).sum(axis=(0, 1))
        return _out(np.sqrt((weights**2 * deviations**2).sum(axis=(0, 1))))
    if x.shape[0] * x.shape[1] == 1:
        return _out(np.full(x.shape[2:], np.inf))
    return _columnwise(x, lambda piece: _standard_error(piece, is_independent))


def rhat(draws: Any) -> float | Array:
    """Compare Markov chains: rank-normalised split R-hat, the larger of bulk and folded.

    One chain is compared with itself (first half against second half).

    Args:
        draws: Array of shape ``(chains, draws, *units)``.

    Returns:
        R-hat, shape ``units``; a float when there are no units. Near 1 for chains that agree;
        above 1.01 they should not be trusted. It is 1 for a variable that is the same in all
        draws, infinite for chains that are stuck at different values, and NaN when a chain
        has fewer than four draws.

    Raises:
        DataError: ``draws`` has fewer than two axes.

    References:
        Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), section 4.

    Example:
        >>> rhat(np.ones((4, 100)))
        1.0
    """
    return _columnwise(_checked(draws), _rank_rhat)


def psis(log_ratios: Any, *, relative_efficiency: float = 1.0) -> tuple[Array, float | Array]:
    """Smooth importance weights by a generalised Pareto fit to their right tail.

    Weights with k-hat below 0.7 can be trusted; above, the estimate has no usable error bound
    at any practical number of draws. Two cases have no fit: when as many draws as the tail
    holds share the largest ratio (equal weights among them), the ratios are bounded where it
    matters and k-hat is minus infinity; when one to four draws stand out, nothing can be
    said and k-hat is plus infinity.

    Args:
        log_ratios: Logarithms of target over proposal density, shape ``(draws, *units)``; an
            entry of minus infinity is a draw of weight zero.
        relative_efficiency: Effective over actual number of draws, for dependent draws.

    Returns:
        Smoothed log weights with ``exp`` summing to one over the draws, shape
        ``(draws, *units)``, and k-hat, shape ``units`` (a float when there are no units).

    Raises:
        DataError: A ratio is NaN or plus infinity, or all ratios of a unit are zero.

    References:
        Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling,
        section 3 and appendix C (the prior for small tails); Zhang and Stephens (2009).

    Example:
        >>> log_weights, khat = psis(np.log(np.arange(1.0, 101.0)))
        >>> bool(khat < 0.5), round(float(np.exp(log_weights).sum()), 6)
        (True, 1.0)
    """
    ratios = _numpy(log_ratios)
    if ratios.ndim == 0 or ratios.shape[0] == 0:
        raise DataError(f"log_ratios has shape {ratios.shape}; expected (draws, *units)")
    columns = ratios.reshape(len(ratios), -1)
    smooth, khat = np.empty_like(columns), np.empty(columns.shape[1])
    step = max(1, CHUNK // len(ratios))
    for start in range(0, columns.shape[1], step):
        piece = slice(start, start + step)
        shifted = _shifted(columns[:, piece])
        smooth[:, piece], khat[piece] = _smoothed(shifted, relative_efficiency)
    return smooth.reshape(ratios.shape), _out(khat.reshape(ratios.shape[1:]))


# --- Markov chains -------------------------------------------------------------------------


def _split(x: Array) -> Array:
    """Half-chains, shape ``(2 * chains, draws // 2, columns)``; an odd middle draw is left out."""
    half = x.shape[1] // 2
    return np.concatenate([x[:, :half], x[:, x.shape[1] - half :]])


def _rank_normalised(x: Array) -> Array:
    """Normal scores of the pooled ranks (Blom's offset), same shape."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    pooled = x.reshape(-1, x.shape[-1])
    ranks = rankdata(pooled, method="average", axis=0)
    scores: Array = ndtri((ranks - 3 / 8) / (len(pooled) + 1 / 4)).reshape(x.shape)
    return scores


def _rank_rhat(x: Array) -> Array:
    if x.shape[1] < 4:
        return np.full(x.shape[2:], np.nan)
    halves = _split(x)
    folded = np.abs(halves - np.median(halves, axis=(0, 1)))
    worst = np.maximum(_rhat(_rank_normalised(halves)), _rhat(_rank_normalised(folded)))
    return np.asarray(np.where((x == x[:1, :1]).all(axis=(0, 1)), 1.0, worst))


def _rhat(x: Array) -> Array:
    n = x.shape[1]
    between = n * x.mean(axis=1).var(axis=0, ddof=1)
    within = x.var(axis=1, ddof=1).mean(axis=0)
    # a folded variable with two values can be constant: then nothing disagrees
    ratio = np.divide(between, within, out=np.where(between > 0, np.inf, 1.0), where=within > 0)
    return np.asarray(np.sqrt((ratio + n - 1) / n))


def _effective_size(x: Array) -> Array:
    """Effective size of chains of shape ``(chains, n, columns)``, as they are."""
    chains, n, columns = x.shape
    if n < 2:
        return np.full(columns, np.nan)
    covariances = _autocovariance(x).mean(axis=0)
    within = covariances[0] * n / (n - 1)
    total = covariances[0] + (x.mean(axis=1).var(axis=0, ddof=1) if chains > 1 else 0.0)
    constant = (x == x[:1, :1]).all(axis=(0, 1))
    correlations = 1 - (within - covariances) / np.where(constant, 1.0, total)
    correlations[0] = 1.0
    size = chains * n / np.maximum(_correlation_time(correlations), 1 / np.log10(chains * n))
    return np.asarray(np.where(constant, float(chains * n), size))


def _correlation_time(correlations: Array) -> Array:
    """Integrated autocorrelation time, shape ``(columns,)``, from lags ``(n, columns)``."""
    n, columns = correlations.shape
    last = max(0, (n - 1) // 2 - 1)  # the last pair whose lags are estimated from enough draws
    even = correlations[0 : 2 * last + 1 : 2]
    pairs = even + correlations[1 : 2 * last + 2 : 2]
    # Geyer's initial positive sequence: all pairs before the first that is not positive
    stopped = pairs <= 0
    end = np.where(stopped.any(axis=0), stopped.argmax(axis=0), last)
    # Geyer's initial monotone sequence
    monotone = np.minimum.accumulate(pairs, axis=0)
    kept = np.arange(len(pairs))[:, None] < end
    at_end = even[end, np.arange(columns)]
    # where the sequence was cut off, its next even term improves the estimate
    positive = (at_end > 0) | (pairs[end, np.arange(columns)] > 0)
    tail = np.where(positive, at_end, 0.0)
    return np.asarray(-1 + 2 * np.where(kept, monotone, 0.0).sum(axis=0) + tail)


def _autocovariance(x: Array) -> Array:
    from scipy.fft import irfft, next_fast_len, rfft

    n = x.shape[1]
    size = next_fast_len(2 * n, real=True)
    spectrum = rfft(x - x.mean(axis=1, keepdims=True), n=size, axis=1)
    lags: Array = irfft(spectrum * spectrum.conj(), n=size, axis=1)[:, :n] / n
    return lags


def _standard_error(x: Array, is_independent: bool) -> Array:
    sd = x.reshape(-1, x.shape[-1]).std(axis=0, ddof=1)
    if is_independent:
        return np.asarray(sd / np.sqrt(x.shape[0] * x.shape[1]))
    if x.shape[1] < 4:
        return np.asarray(np.where(sd > 0, np.inf, 0.0))
    return np.asarray(sd / np.sqrt(_effective_size(_split(x))))


# --- importance weights --------------------------------------------------------------------


def _shifted(x: Array) -> Array:
    largest = x.max(axis=0)  # NaN goes through
    bad = ~np.isfinite(largest)
    if bad.any():
        raise DataError(
            f"{int(bad.sum())} of {bad.size} columns of log_ratios hold NaN or plus infinity, or "
            "nothing but minus infinity; expected finite logarithms with at least one draw of "
            "positive weight; check the evidence's probability under the program"
        )
    return np.asarray(x - largest)


def _smoothed(x: Array, relative_efficiency: float) -> tuple[Array, Array]:
    """Smooth columns of log ratios whose largest is zero, shape ``(n, columns)``."""
    n = len(x)
    size = int(np.ceil(min(n / 5, 3 * np.sqrt(n / relative_efficiency))))
    size = min(size, n - 1)
    order = np.argsort(x, axis=0, kind="stable")
    ordered = np.take_along_axis(x, order, axis=0)
    cutoff = np.maximum(ordered[n - 1 - size], np.log(np.finfo(np.float64).tiny))
    lengths = (ordered > cutoff).sum(axis=0)  # less than size where ratios tie with the cutoff
    khat = np.where(lengths == 0, -np.inf, np.inf)
    for length in np.unique(lengths[lengths > 4]):
        group = np.flatnonzero(lengths == length)
        tail, khat[group] = _pareto_tail(ordered[n - length :, group], cutoff[group])
        ordered[n - length :, group] = tail
    out = np.empty_like(x)
    np.put_along_axis(out, order, ordered, axis=0)
    return out - np.log(np.exp(out).sum(axis=0)), khat


def _pareto_tail(tail: Array, cutoff: Array) -> tuple[Array, Array]:
    """Replace sorted tails, shape ``(length, columns)``, by expected order statistics."""
    threshold = np.exp(cutoff)
    exceedances = np.exp(tail) - threshold
    shape, scale = _in_pieces(exceedances)
    levels = ((np.arange(len(tail)) + 0.5) / len(tail))[:, None]
    safe = np.where(np.abs(shape) < 1e-12, 1.0, shape)
    curve = np.where(
        np.abs(shape) < 1e-12, -np.log1p(-levels), np.expm1(-safe * np.log1p(-levels)) / safe
    )
    fitted = np.isfinite(shape) & np.isfinite(scale) & (scale > 0)
    smooth = np.log(np.where(fitted, curve * scale, exceedances) + threshold)
    # truncated at the largest raw ratio
    return np.minimum(smooth, 0.0), np.where(fitted, shape, np.inf)


def _in_pieces(exceedances: Array) -> tuple[Array, Array]:
    """Fit every column; the grid of the fit multiplies memory, so fewer columns at a time."""
    length, columns = exceedances.shape
    step = max(1, CHUNK // (length * (30 + int(np.sqrt(length)))))
    fits = [_fit_pareto(exceedances[:, i : i + step]) for i in range(0, columns, step)]
    return np.concatenate([k for k, _ in fits]), np.concatenate([s for _, s in fits])


def _fit_pareto(x: Array) -> tuple[Array, Array]:
    """Generalised Pareto shape and scale of sorted columns, shape ``(n, columns)``.

    Zhang and Stephens (2009), with k of the opposite sign, and the shape pulled towards 1/2 as if
    ten more exceedances had been seen (Vehtari et al. 2024, appendix C).
    """
    n = len(x)
    points = 30 + int(np.sqrt(n))
    grid = 1 - np.sqrt(points / (np.arange(1, points + 1) - 0.5))
    quartile = x[int(n / 4 + 0.5) - 1]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        thetas = grid[:, None] / (3 * quartile) + 1 / x[-1]  # (points, columns)
        shapes = np.log1p(-thetas[:, None] * x).mean(axis=1)
        profile = n * (np.log(-thetas / shapes) - shapes - 1)
        weights = np.exp(profile - profile.max(axis=0))
        weights /= weights.sum(axis=0)
        theta = (weights * thetas).sum(axis=0)
        shape = np.log1p(-theta * x).mean(axis=0)
        scale = -shape / theta
    return (n * shape + 10 * 0.5) / (n + 10), scale


# --- arrays --------------------------------------------------------------------------------


def _numpy(values: Any) -> Array:
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    return np.asarray(values, dtype=np.float64)


def _checked(draws: Any) -> npt.NDArray[Any]:
    x = draws.detach().cpu().numpy() if hasattr(draws, "detach") else np.asarray(draws)
    if x.ndim < 2 or x.shape[0] * x.shape[1] == 0:
        raise DataError(
            f"draws have shape {x.shape}; expected (chains, draws, *units); "
            "give one chain as draws[None]"
        )
    return x


def _normalised(log_weights: Any, x: npt.NDArray[Any]) -> Array:
    logs = _numpy(log_weights)
    if logs.shape != x.shape[: logs.ndim] or logs.ndim < 2:
        raise DataError(
            f"log_weights have shape {logs.shape} and draws {x.shape}; expected the same leading "
            "axes (chains, draws[, units])"
        )
    flat = _shifted(logs.reshape(x.shape[0] * x.shape[1], -1))
    weights = np.exp(flat)
    weights /= weights.sum(axis=0)
    return weights.reshape(logs.shape + (1,) * (x.ndim - logs.ndim))


def _columnwise(x: npt.NDArray[Any], compute: Callable[[Array], Array]) -> float | Array:
    """Apply ``compute`` to pieces of shape ``(chains, draws, columns)``."""
    columns = x.reshape(*x.shape[:2], -1)
    out = np.empty(columns.shape[2])
    step = max(1, CHUNK // (x.shape[0] * x.shape[1]))
    for start in range(0, columns.shape[2], step):
        piece = columns[:, :, start : start + step].astype(np.float64)
        out[start : start + step] = compute(piece)
    return _out(out.reshape(x.shape[2:]))


def _out(values: Array) -> float | Array:
    return float(values) if values.ndim == 0 else values
