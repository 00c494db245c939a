"""Exact posteriors of linear Gaussian programs, by conditioning their noise.

Every value of every world is affine in one standard normal noise vector that the worlds share,
``v = c + A noise`` (`causalppl.inference.affine_worlds`); evidence is a set of such rows with
known left sides. The posterior of the noise is normal in closed form, whatever the worlds that the
evidence stands in and however rare it is.

References:
    Balke and Pearl (1995), Counterfactuals and policy analysis in structural models, section 4
    (linear structural equations with normal disturbances).
"""

import math
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import numpy as np
import torch
from pyro.poutine.messenger import Messenger
from scipy.special import ndtr

from causalppl.exceptions import DataError, ImpossibleEvidenceError
from causalppl.inference.affine import DOUBLE, FAMILIES, Array, NotAffineError
from causalppl.inference.affine_worlds import AffineWorlds
from causalppl.inference.engine import Answer, Condition, Engine, Problem
from causalppl.inference.laws import Law, NormalLaw, PointLaw
from causalppl.inference.quiet_run import quiet
from causalppl.programs.scm import Given
from causalppl.seeding import forked_rng

__all__ = ["Gaussian"]

_MAX_DRAWN: Final = 2**25
"""Numbers drawn at most: about a quarter of a gigabyte while they are made."""

_SAME: Final = 4e-6
"""Relative difference up to which two values of evidence are the same: float32 rounding."""


@dataclass(frozen=True)
class Gaussian(Engine):
    """Condition a linear Gaussian program exactly.

    It serves programs whose needed sites are normal (univariate, independent or multivariate),
    with means affine in their parents and constant scales, or deterministic and affine.
    Evidence may stand in any world and in several, and on deterministic sites; sites may be
    vectors; parameters may have draws. Sites of any family may be set by interventions, or given
    as evidence if their parents are evidence too. Means and standard deviations carry rounding
    error only, whatever the probability of the evidence.

    References:
        Balke and Pearl (1995), Counterfactuals and policy analysis in structural models.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def program():
        ...     b = pyro.sample("b", dist.Normal(0.0, 1.0))
        ...     return pyro.sample("x", dist.Normal(b, 1.0))
        >>> from causalppl.programs.scm import SCM
        >>> problem = Problem(SCM(program), 1, {}, {"x": torch.tensor([2.0])}, ("b",))
        >>> law = Gaussian().solve(problem, seed=0).laws["b"]
        >>> round(law.mean().item(), 9), round(law.sd().item() ** 2, 9)
        (1.0, 0.5)
    """

    name: ClassVar[str] = "Gaussian"

    # the problem last looked at, so that solving does not read the program again
    _memo: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def refusal(self, problem: Problem) -> str | None:
        """Say which site is not linear Gaussian; None if all that matter are.

        Costs one run of the program with a few units, and remembers what it read for `solve`.
        """
        try:
            self._twin(problem)
        except NotAffineError as error:
            return str(error)
        return None

    def solve(self, problem: Problem, *, seed: int, progress: bool = False) -> Answer:
        """Answer the problem exactly.

        Args:
            problem: What is asked; ``refusal(problem)`` is None.
            seed: Seed of the draws; everything else is exact.
            progress: Ignored: there is nothing to wait for.

        Raises:
            ImpossibleEvidenceError: Two pieces of evidence contradict each other, or a piece of
                evidence contradicts an intervention or its site's support.
            DataError: The program is not linear Gaussian, or evidence is not finite.
        """
        try:
            twin = self._twin(problem)
        except NotAffineError as error:
            raise DataError(f"the Gaussian engine cannot answer: {error}") from None
        finally:
            self._memo.clear()
        return _answer(problem, twin, seed)

    def _twin(self, problem: Problem) -> AffineWorlds:
        if self._memo and self._memo["problem"]() is problem:
            return self._memo["twin"]
        twin = AffineWorlds(problem)
        self._memo.update(problem=weakref.ref(problem), twin=twin)
        return twin


# -- conditioning ---------------------------------------------------------------------------------


class _Conditional:
    """The law of the noise given the evidence ``A noise = seen - const``.

    The units' own noise is conditioned by a singular value decomposition of its rows, scaled to
    length one: the standard normal prior stays standard on the null space, so no covariance is
    ever inverted or subtracted. Noise that all units share is conditioned on the units' mean,
    which is sufficient, as all units have the same rows.
    """

    def __init__(self, twin: AffineWorlds) -> None:
        self._twin, self.shared = twin, twin.shared
        self.tolerance = twin.precision.rank
        skipped = {twin.factual_evidence[name] for name in twin.cut}
        self._keys = [key for key in twin.problem.evidence if key not in skipped]
        width, units = twin.width, twin.problem.num_units
        parts = [(twin.seen(key), *twin.values[twin.node(key)]) for key in self._keys]
        draws = max((max(len(c), len(a)) for _, c, a in parts), default=1)
        self._sizes = [seen.shape[1] for seen, _, _ in parts]
        rows = _joined([a for _, _, a in parts], draws, (0, width))
        seen = np.concatenate([np.zeros((units, 0)), *(s for s, _, _ in parts)], axis=1)
        const = _joined([c.swapaxes(1, 2) for _, c, _ in parts], draws, (0, 1)).swapaxes(1, 2)
        length = np.linalg.norm(rows, axis=2)
        length = np.where(length > 0, length, 1.0)
        self._slack = (_SAME * (np.abs(seen) + np.abs(const)) + 1e-12) / length[:, None]
        self._length = length
        self.residual = (seen - const) / length[:, None]
        self._condition(rows / length[:, :, None], units)

    def _condition(self, rows: Array, units: int) -> None:
        common, own = rows[..., : self.shared], rows[..., self.shared :]
        u, s, vh = np.linalg.svd(own, full_matrices=True)
        known = s > self.tolerance
        inverse = np.where(known, 1 / np.where(known, s, 1.0), 0.0)
        k = s.shape[-1]
        # rows that the unit's own noise answers, whitened; then those that it leaves no room for
        whiten = inverse[..., None] * u[..., :k].swapaxes(1, 2)
        self.gain = vh[:, :k].swapaxes(1, 2) @ whiten
        is_free = np.ones(vh.shape[:2], bool)
        is_free[:, :k] = ~known
        self.null = vh.swapaxes(1, 2) * is_free[:, None]
        is_left = np.ones(u.shape[::2], bool)
        is_left[:, :k] = ~known
        left = u.swapaxes(1, 2) * is_left[..., None]
        self.condition_number = (1 / np.where(known, s, 1.0)).max(initial=1.0)
        self._condition_shared(whiten, left, common, units)
        unmet = (self.residual - (common @ self.shared_mean[..., None])[:, None, :, 0]) @ (
            left.swapaxes(1, 2)
        )
        self._check(unmet, left)
        self.common = common

    def _condition_shared(self, whiten: Array, left: Array, common: Array, units: int) -> None:
        draws, k = whiten.shape[:2]
        if not self.shared:
            self.shared_mean, self.shared_null = np.zeros((draws, 0)), np.zeros((draws, 0, 0))
            return
        mean = self.residual.mean(1)[..., None]
        root = math.sqrt(units)
        # [sqrt(n) B, 1; C, 0] (shared, mean of own) = (sqrt(n) y, z), for the units' means y, z
        top = np.concatenate([root * whiten @ common, np.broadcast_to(np.eye(k), (draws, k, k))], 2)
        low = left @ common
        low = np.concatenate([low, np.zeros((*low.shape[:2], k))], 2)
        system = np.concatenate([top, low], 1)
        right = np.concatenate([root * whiten @ mean, left @ mean], 1)
        length = np.linalg.norm(system, axis=2, keepdims=True)
        length = np.where(length > self.tolerance, length, 1.0)
        u, s, vh = np.linalg.svd(system / length, full_matrices=True)
        known = s > self.tolerance
        inverse = np.where(known, 1 / np.where(known, s, 1.0), 0.0)
        size = s.shape[-1]
        solved = inverse[..., None] * (u[..., :size].swapaxes(1, 2) @ (right / length))
        is_free = np.ones(vh.shape[:2], bool)
        is_free[:, :size] = ~known
        basis = vh.swapaxes(1, 2)[:, : self.shared]
        self.shared_mean = (basis[..., :size] @ solved)[..., 0]
        self.shared_null = basis * is_free[:, None]

    def _check(self, unmet: Array, left: Array) -> None:
        """Raise where evidence leaves a residual that no noise explains."""
        allowed = self._slack @ np.abs(left).swapaxes(1, 2)
        is_bad = np.abs(unmet) > allowed
        if not is_bad.any():
            return
        draw, unit, row = np.argwhere(is_bad)[0]
        weights = np.abs(left[min(draw, len(left) - 1), row])
        owner = np.repeat(np.arange(len(self._keys)), self._sizes)
        involved = [
            key for i, key in enumerate(self._keys) if weights[owner == i].max(initial=0.0) > 1e-6
        ]
        seen = ", ".join(
            f"{key} = {', '.join(f'{x:.6g}' for x in self._twin.seen(key)[unit])}"
            for key in involved
        )
        together = "contradict each other" if len(involved) > 1 else "cannot occur"
        raise ImpossibleEvidenceError(
            f"the evidence {seen} of unit {unit} {together} under the program, the interventions "
            "and the other evidence; expected values that the unit's noise can produce; correct or "
            "drop one"
        )

    def law(self, const: Array, rows: Array) -> tuple[Array, Array, Array]:
        """Posterior mean of ``const + rows noise``, and the factors of its covariance.

        Returns:
            Mean ``(draws, units, d)``, factor on shared noise and on the units' own noise
            ``(draws, d, .)``; the covariance is the sum of ``F F'``.
        """
        common, own = rows[..., : self.shared], rows[..., self.shared :]
        response = own @ self.gain
        carried = common - response @ self.common
        mean = const + self.residual @ response.swapaxes(1, 2)
        mean = mean + (carried @ self.shared_mean[..., None]).swapaxes(1, 2)
        prior = np.linalg.norm(rows, axis=2)[..., None]
        zero = prior * max(self.tolerance, 1e-15 * self.condition_number)
        factors = carried @ self.shared_null, own @ self.null
        sd = np.sqrt(sum((f**2).sum(2, keepdims=True) for f in factors))
        shared, single = (np.where(sd > zero, f, 0.0) for f in factors)
        return mean, shared, single


def _joined(parts: list[Array], draws: int, empty: tuple[int, int]) -> Array:
    """Concatenate ``(draws or 1, d, m or 1)`` along ``d``."""
    last = max((p.shape[2] for p in parts), default=empty[1])
    shaped = [np.broadcast_to(p, (draws, p.shape[1], last)) for p in parts]
    return np.concatenate([np.zeros((draws, 0, last)), *shaped], axis=1)


# -- the answer -----------------------------------------------------------------------------------


def _answer(problem: Problem, twin: AffineWorlds, seed: int) -> Answer:
    _check_support(problem, twin)
    conditional = _Conditional(twin)
    nodes = [twin.values[twin.node(key)] for key in twin.keys]
    laws = [conditional.law(*node) for node in nodes]
    draws, units = problem.num_parameter_draws, problem.num_units
    sizes = [mean.shape[2] for mean, _, _ in laws]
    spans = dict(zip(twin.keys, _spans(sizes), strict=True))
    shared, own = (_stack_rows([law[i] for law in laws]) for i in (1, 2))
    means = {
        key: np.broadcast_to(mean, (draws, units, mean.shape[2]))
        for key, (mean, _, _) in zip(twin.keys, laws, strict=True)
    }
    variance = (shared**2).sum(2) + (own**2).sum(2)
    shapes = {key: twin.layout.shape(problem.split(key)[0]) for key in twin.keys}

    def tensor(array: Array, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.tensor(array).reshape(shape).to(twin.device)

    probability = _probability(problem.events, means, spans, np.concatenate([shared, own], 2))
    notes = ["exact conditioning of a linear Gaussian program"]
    if twin.precision is not DOUBLE:
        notes.append(f"coefficients are rounded: the program runs in {twin.precision.dtype} only")
    drawn, is_fewer = _draw(problem, means, spans, shared, own, seed)
    if is_fewer:
        notes.append(f"{len(drawn[0])} draws instead of {problem.num_draws}, to fit in memory")
    exact: dict[str, Law] = {}
    if draws == 1:
        for key in problem.targets:
            mean = tensor(means[key], (units, *shapes[key]))
            sd = tensor(np.sqrt(variance[0, spans[key]]), shapes[key])
            exact[key] = NormalLaw(mean, sd) if bool((sd > 0).any()) else PointLaw(mean)
    dtype = torch.get_default_dtype()
    asked = twin.keys if problem.events and probability is None else problem.targets
    return Answer(
        draws={
            key: drawn[..., spans[key]]
            .to(twin.device, dtype)
            .reshape(*drawn.shape[:3], *shapes[key])
            for key in asked
        },
        means={key: tensor(means[key], (draws, units, *shapes[key])) for key in problem.targets},
        laws=exact,
        probability=None if probability is None else tensor(probability, (draws, units)),
        is_exact=True,
        notes=tuple(notes),
    )


def _spans(sizes: list[int]) -> list[slice]:
    edges = np.cumsum([0, *sizes]).tolist()
    return [slice(*edges[i : i + 2]) for i in range(len(sizes))]


def _stack_rows(factors: list[Array]) -> Array:
    draws = max(map(len, factors), default=1)
    return _joined(factors, draws, (0, 0))


def _check_support(problem: Problem, twin: AffineWorlds) -> None:
    """Raise if a site of another family, given as evidence, cannot have its value."""
    others = [name for name in twin.cut if twin.sites[name].family not in FAMILIES]
    if not others:
        return
    given = {name: problem.evidence[key] for name, key in twin.factual_evidence.items()}
    given = {name: value for name, value in given.items() if twin.sites[name].kind == "sample"}
    given.update({name: draws[0] for name, draws in problem.scm.parameters.items()})
    found: dict[str, torch.Tensor] = {}

    class Densities(Messenger):
        def _pyro_post_sample(self, msg: Any) -> None:
            if msg["name"] in others:
                fn, value = msg["fn"], msg["value"]
                is_inside = fn.support.check(value)
                found[msg["name"]] = is_inside & fn.log_prob(value).isfinite()

    with quiet(problem.scm), Given(given), Densities():
        problem.scm.program(problem.num_units)
    for name, is_possible in found.items():
        if not bool(is_possible.all()):
            unit = int(torch.argmin(is_possible.reshape(-1).int())) % problem.num_units
            raise ImpossibleEvidenceError(
                f"the evidence {name} = {problem.evidence[name][unit].tolist()} of unit {unit} has "
                f"probability zero under {twin.sites[name].family}; expected a value in its "
                "support; correct it"
            )


def _draw(
    problem: Problem,
    means: Mapping[str, Array],
    spans: Mapping[str, slice],
    shared: Array,
    own: Array,
    seed: int,
) -> tuple[torch.Tensor, bool]:
    """Draw all keys jointly, shape ``(parameter draws, draws, units, coordinates)``."""
    none = np.zeros((problem.num_parameter_draws, problem.num_units, 0))
    mean = torch.as_tensor(np.concatenate([none, *means.values()], axis=2))
    draws, units, size = mean.shape
    count = problem.num_draws
    # a small factor with the same covariance: F F' = R' R
    factors = [torch.as_tensor(np.linalg.qr(f.swapaxes(1, 2), mode="r")) for f in (shared, own)]
    if not any(bool(f.any()) for f in factors):
        return mean[:, None].expand(draws, count, units, size), False
    kept = min(count, max(1, _MAX_DRAWN // (draws * units * max(1, size))))
    with forked_rng(seed):
        common = torch.randn(draws, kept, factors[0].shape[1], dtype=torch.float64)
        noise = torch.randn(draws, kept, units, factors[1].shape[1], dtype=torch.float64)
    values = torch.matmul(noise, factors[1][:, None])
    values += (common @ factors[0])[:, :, None] + mean[:, None]
    return values, kept < count


def _probability(
    events: tuple[Condition, ...],
    means: Mapping[str, Array],
    spans: Mapping[str, slice],
    factor: Array,
) -> Array | None:
    """Joint probability of events where it splits into univariate ones; None where it does not."""
    if not events or any(means[event.key].shape[2] != 1 for event in events):
        return None
    keys = list(dict.fromkeys(event.key for event in events))
    rows = np.stack([factor[:, spans[key].start] for key in keys], axis=1)
    total: Array | None = None
    for members in _dependent(rows):
        direction = rows[:, members[0]]
        sd = np.linalg.norm(direction, axis=1)
        unit = direction / np.where(sd > 0, sd, 1.0)[:, None]
        along = (rows[:, members] * unit[:, None]).sum(2)
        rest = rows[:, members] - along[..., None] * unit[:, None]
        if (np.abs(rest) > 1e-9 * np.abs(rows[:, members]).max()).any():
            return None
        slopes = {keys[i]: along[:, j, None] for j, i in enumerate(members)}
        chosen = [event for event in events if event.key in slopes]
        part = _interval(chosen, means, slopes)
        total = part if total is None else total * part
    return total


def _dependent(rows: Array) -> list[list[int]]:
    """Group variables, given by their factors ``(draws, variables, .)``, by correlation."""
    cov = rows @ rows.swapaxes(1, 2)
    sd = np.sqrt(np.diagonal(cov, axis1=1, axis2=2))
    largest = (np.abs(cov) - 1e-9 * sd[:, :, None] * sd[:, None]).max(0)
    groups: list[list[int]] = []
    for i in range(len(largest)):
        near = [group for group in groups if (largest[i, group] > 0).any()]
        groups = [group for group in groups if group not in near]
        groups.append([j for group in near for j in group] + [i])
    return groups


def _interval(
    events: list[Condition], means: Mapping[str, Array], slopes: Mapping[str, Array]
) -> Array:
    """Probability that ``mean + slope z``, with one standard normal ``z``, is where events say."""
    shape = means[events[0].key].shape[:2]
    low, high, holds = np.full(shape, -np.inf), np.full(shape, np.inf), np.ones(shape)
    for event in events:
        mean, slope = means[event.key][..., 0], slopes[event.key]
        gap = event.value - mean
        is_close = np.abs(gap) <= _SAME * np.maximum(np.abs(mean), abs(event.value))
        fixed = Condition(event.key, event.op, 0.0).holds(
            torch.as_tensor(np.where(is_close, 0.0, -gap))
        )
        holds = holds * np.where((slope == 0) & ~fixed.numpy(), 0.0, 1.0)
        if event.op == "=":
            holds = holds * (slope == 0)
            continue
        bound = gap / np.where(slope == 0, 1.0, slope)
        is_floor = (slope > 0) == event.op.startswith(">")
        low = np.where((slope != 0) & is_floor, np.maximum(low, bound), low)
        high = np.where((slope != 0) & ~is_floor, np.minimum(high, bound), high)
    # from the side of the smaller tail
    inside = np.where(low > 0, ndtr(-low) - ndtr(-high), ndtr(high) - ndtr(low))
    return holds * np.maximum(inside, 0.0)
