"""Problems of causal Bayesian optimisation: which variables to set, and to what, at least mean.

Their means under an intervention are integrals that are computed to about ten digits: sums of
independent parts in closed form or by Gauss rules.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from numpy.typing import NDArray

from causalppl.programs.scm import SCM

__all__ = ["OptimisationProblem", "complete_graph", "psa_health", "toy_graph"]

Array: TypeAlias = NDArray[np.float64]
Numbers: TypeAlias = Any
"""A number, or shape ``(n,)``."""

_HERMITE = np.polynomial.hermite_e.hermegauss(80)
_NORMAL: tuple[Array, Array] = (_HERMITE[0], _HERMITE[1] / _HERMITE[1].sum())
"""Nodes and weights of a rule for the standard normal law."""
_LEGENDRE = np.polynomial.legendre.leggauss(20)
_SHORTER = np.polynomial.hermite_e.hermegauss(20)
_AGE = (65 + 10 * _LEGENDRE[0])[:, None]
_BMI = 27 - 0.01 * _AGE + 0.7 * _SHORTER[0]
_WEIGHT = _LEGENDRE[1][:, None] / 2 * _SHORTER[1] / _SHORTER[1].sum()
_ONE = torch.ones((), dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class OptimisationProblem:
    """A program whose outcome is to be made small by setting some variables.

    Attributes:
        scm: The model.
        outcome: The variable to be made small.
        ranges: Variable that may be set to its bounds.
        sets: The sets of variables that may be set together.
        mean: From the variables that are set (numbers, or shape ``(n,)``) to the mean outcome.
        best: The smallest mean outcome.
        best_action: Where it is.
        source: Where the problem comes from.

    Example:
        >>> problem = toy_graph()
        >>> round(float(problem.mean({"Z": -3.2003})), 4), problem.best
        (-2.1718, -2.1718)
    """

    scm: SCM
    outcome: str
    ranges: Mapping[str, tuple[float, float]]
    sets: tuple[tuple[str, ...], ...]
    mean: Callable[[Mapping[str, Numbers]], Numbers]
    best: float
    best_action: Mapping[str, float]
    source: str

    def actions(self) -> tuple[dict[str, tuple[float, float]], ...]:
        """List the sets as arms with open values, as environments take them."""
        return tuple({name: self.ranges[name] for name in names} for names in self.sets)


def toy_graph() -> OptimisationProblem:
    """A chain of three variables.

    References:
        Aglietti, Lu, Paleyes and González (2020), Causal Bayesian optimization; section 4.1.

    Example:
        >>> print(toy_graph().scm.graph)
        X -> Z -> Y
    """

    def program() -> None:
        x = _normal("X", 0 * _ONE)
        z = _normal("Z", torch.exp(-x))
        _normal("Y", torch.cos(z) - torch.exp(-z / 20))

    def mean(done: Mapping[str, Numbers]) -> Numbers:
        if "Z" in done:
            return np.cos(done["Z"]) - np.exp(-done["Z"] / 20)
        if "X" not in done:
            nodes, weights = _NORMAL
            return float(weights @ mean({"X": nodes}))
        # Z is normal about exp(-X) with variance 1
        centre = np.exp(-done["X"])
        return np.exp(-0.5) * np.cos(centre) - np.exp(-centre / 20 + 1 / 800)

    return OptimisationProblem(
        SCM(program),
        "Y",
        {"X": (-5.0, 5.0), "Z": (-5.0, 20.0)},
        (("X",), ("Z",)),
        mean,
        -2.1718,
        {"Z": -3.2003},
        "Aglietti et al. (2020), toy",
    )


def complete_graph() -> OptimisationProblem:
    """Seven variables and two hidden causes; the best set has two variables.

    References:
        Aglietti et al. (2020), section 4.2; optima to the digits given, by quadrature.

    Example:
        >>> problem = complete_graph()
        >>> round(float(problem.mean({"B": -5.0, "D": 3.343})), 4), problem.best
        (-3.4831, -3.4831)
    """

    def program() -> None:
        f, u1, u2 = _normal("F", 0 * _ONE), _normal("U1", 0 * _ONE), _normal("U2", 0 * _ONE)
        a = _normal("A", f**2 + u1)
        b = _normal("B", u2)
        c = _normal("C", torch.exp(-b))
        d = _normal("D", torch.exp(-c) / 10)
        e = _normal("E", torch.cos(a) + c / 10)
        _normal("Y", torch.cos(d) - d / 5 + torch.sin(e) - e / 4 + u1 + torch.exp(-u2))

    return OptimisationProblem(
        SCM(program, observed=["F", "A", "B", "C", "D", "E", "Y"]),
        "Y",
        {"B": (-5.0, 4.0), "D": (-5.0, 5.0), "E": (-6.0, 3.0)},
        (("B",), ("D",), ("E",), ("B", "D"), ("B", "E"), ("D", "E")),
        _mean_of_complete,
        -3.4831,
        {"B": -5.0, "D": 3.343},
        "Aglietti et al. (2020), complete graph",
    )


def psa_health() -> OptimisationProblem:
    """Aspirin and statin, and the level of a prostate antigen.

    References:
        Ferro, Pina, Severo, Dias, Botelho and Lunet (2015); Thompson (2019); Aglietti et al.
        (2020), section 4.4.

    Example:
        >>> problem = psa_health()
        >>> round(float(problem.mean({"aspirin": 0.0, "statin": 1.0})), 4), problem.best
        (5.1553, 5.1553)
    """

    def program() -> None:
        age = pyro.sample("age", dist.Uniform(55 * _ONE, 75 * _ONE))
        bmi = pyro.sample("bmi", dist.Normal(27 - 0.01 * age, 0.7 * _ONE))
        aspirin = pyro.deterministic("aspirin", torch.sigmoid(-8 + 0.1 * age + 0.03 * bmi))
        statin = pyro.deterministic("statin", torch.sigmoid(-13 + 0.1 * age + 0.2 * bmi))
        risk = 2.2 - 0.05 * age + 0.01 * bmi - 0.04 * statin + 0.02 * aspirin
        cancer = pyro.deterministic("cancer", torch.sigmoid(risk))
        centre = 6.8 + 0.04 * age - 0.15 * bmi - 0.6 * statin + 0.55 * aspirin + cancer
        pyro.sample("Y", dist.Normal(centre, 0.4 * _ONE))

    return OptimisationProblem(
        SCM(program),
        "Y",
        {"aspirin": (0.0, 1.0), "statin": (0.0, 1.0)},
        (("aspirin",), ("statin",), ("aspirin", "statin")),
        _mean_of_psa,
        5.1553,
        {"aspirin": 0.0, "statin": 1.0},
        "Aglietti et al. (2020), health",
    )


def _normal(name: str, mean: torch.Tensor) -> torch.Tensor:
    return pyro.sample(name, dist.Normal(mean, _ONE))


def _mean_of_complete(done: Mapping[str, Numbers]) -> Numbers:
    """Add up the parts of Y that D, E and the hidden causes make; each follows from B or its law.

    E exp(-U2) is exp(1/2) whatever is set, and U1 adds nothing on average.
    """
    given = done.get("B")
    if "D" in done:
        from_d = np.cos(done["D"]) - done["D"] / 5
    else:
        from_d = _over_b(_part_of_d, given)
    if "E" in done:
        from_e = np.sin(done["E"]) - done["E"] / 4
    else:
        from_e = _over_b(_part_of_e, given)
    return from_d + from_e + np.exp(0.5)


def _over_b(part: Callable[[Array], Array], given: Numbers) -> Numbers:
    """Take a part where B is set, or else on average over its law, normal with variance 2."""
    if given is not None:
        found = part(np.atleast_1d(np.asarray(given, dtype=np.float64)))
        return found if np.ndim(given) else float(found[0])
    nodes, weights = _NORMAL
    return float(weights @ part(np.sqrt(2.0) * nodes))


def _part_of_d(b: Array) -> Array:
    """Compute E[cos D - D / 5 | do(B=b)]: D is normal about exp(-C) / 10, C about exp(-b)."""
    nodes, weights = _NORMAL
    centre = np.exp(-(np.exp(-b)[:, None] + nodes)) / 10
    found: Array = (np.exp(-0.5) * np.cos(centre) - centre / 5) @ weights
    return found


def _part_of_e(b: Array) -> Array:
    """Compute E[sin E - E / 4 | do(B=b)]: E is normal about cos A + C / 10, C about exp(-b)."""
    whole, mean_cosine = _cosine_of_a()
    centre = np.exp(-b) / 10
    spun = np.exp(-0.5 - 0.005) * np.exp(1j * centre) * whole
    found: Array = spun.imag - (mean_cosine + centre) / 4
    return found


def _cosine_of_a() -> tuple[complex, float]:
    """Compute E exp(i cos A) and E cos A, where A = F^2 + U1 + noise.

    By the series exp(i cos a) = sum over k of i^k J_k(1) exp(i k a), and
    E exp(i k A) = exp(-k^2) / sqrt(1 - 2 i k).
    """
    from scipy.special import jv

    orders = np.arange(-12, 13)
    spins = np.exp(-(orders**2.0)) / np.sqrt(1 - 2j * orders)
    whole = complex((1j**orders * jv(orders, 1.0)) @ spins)
    return whole, float((np.exp(-1.0) / np.sqrt(1 - 2j)).real)


def _mean_of_psa(done: Mapping[str, Numbers]) -> Numbers:
    """Average over age, by a Gauss-Legendre rule, and body mass index, by a Gauss-Hermite one."""
    size = max((np.size(value) for value in done.values()), default=1)
    columns = {n: np.broadcast_to(np.asarray(v, dtype=float), (size,)) for n, v in done.items()}

    def set_to(name: str, natural: Array) -> Array:
        return columns[name][:, None, None] if name in columns else natural

    aspirin = set_to("aspirin", _sigmoid(-8 + 0.1 * _AGE + 0.03 * _BMI))
    statin = set_to("statin", _sigmoid(-13 + 0.1 * _AGE + 0.2 * _BMI))
    cancer = _sigmoid(2.2 - 0.05 * _AGE + 0.01 * _BMI - 0.04 * statin + 0.02 * aspirin)
    centre = 6.8 + 0.04 * _AGE - 0.15 * _BMI - 0.6 * statin + 0.55 * aspirin + cancer
    found = (np.broadcast_to(centre, (size, *_WEIGHT.shape)) * _WEIGHT).sum((1, 2))
    return found if any(np.ndim(value) for value in done.values()) else float(found[0])


def _sigmoid(x: Array) -> Array:
    found: Array = 1 / (1 + np.exp(-x))
    return found
