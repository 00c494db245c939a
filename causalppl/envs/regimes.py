"""The three ways to learn from a model, and which of them are allowed."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from causalppl.data import Table
from causalppl.exceptions import AssumptionError, QueryError
from causalppl.inference import infer
from causalppl.programs import SCM

if TYPE_CHECKING:
    from causalppl.inference import Posterior

__all__ = ["Regimes"]

_ALL = ("see", "do", "counterfactual")
_WORLD = "done"


class Regimes:
    """Seeing, doing and imagining, each where it is allowed.

    Args:
        scm: The model.
        allowed: Names of the regimes.

    Raises:
        QueryError: A name is none of them.
    """

    def __init__(self, scm: SCM, allowed: Sequence[str]) -> None:
        if isinstance(allowed, str) or (unknown := sorted(set(allowed) - set(_ALL))):
            found = allowed if isinstance(allowed, str) else ", ".join(unknown)
            raise QueryError(
                f"regimes has {found!r}; expected a sequence of {', '.join(map(repr, _ALL))}"
            )
        self._scm = scm
        self.allowed = tuple(name for name in _ALL if name in allowed)

    def check(self, regime: str) -> None:
        """Refuse a regime that is not allowed.

        Raises:
            AssumptionError: It is not.
        """
        if regime not in self.allowed:
            raise AssumptionError(
                f"{regime!r} is not allowed here; the regimes are {', '.join(self.allowed)}; "
                f"expected it among them: SCMEnv(..., regimes=[{regime!r}, ...])"
            )

    def see(self, num_units: int, *, seed: int) -> Table:
        """Draw the observed variables of units on which nobody acts."""
        self.check("see")
        return self._observed(self._scm, num_units, seed)

    def do(
        self,
        interventions: Mapping[str, Any],
        settable: Sequence[str],
        num_units: int,
        *,
        seed: int,
    ) -> Table:
        """Draw the observed variables of units under an intervention."""
        self.check("do")
        if refused := sorted(set(interventions) - set(settable)):
            raise QueryError(
                f"{', '.join(refused)} cannot be set here; expected {', '.join(settable)}"
            )
        model = self._scm.intervened(interventions) if interventions else self._scm
        return self._observed(model, num_units, seed)

    def counterfactual(
        self,
        interventions: Mapping[str, Any],
        evidence: Mapping[str, Any],
        outcome: str,
        *,
        seed: int,
        **options: Any,
    ) -> "Posterior":
        """Infer the outcome that units with this evidence would have had."""
        self.check("counterfactual")
        if hidden := sorted(set(evidence) - set(self._scm.observed)):
            raise QueryError(
                f"{', '.join(hidden)} is evidence, but is not observed; expected some of "
                f"{', '.join(self._scm.observed)}"
            )
        return infer(
            self._scm,
            [f"{outcome}@{_WORLD}"],
            worlds={_WORLD: interventions},
            evidence=evidence,
            seed=seed,
            **options,
        )

    def _observed(self, model: SCM, num_units: int, seed: int) -> Table:
        values = model.sample(num_units, seed=seed)
        return Table.from_any({name: values[name].expand(num_units) for name in model.observed})
