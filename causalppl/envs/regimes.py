"""The three ways to learn from a model, and which of them are allowed."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from causalppl.data import Table
from causalppl.envs.settable import Values, is_rule
from causalppl.exceptions import AssumptionError, DataError, QueryError
from causalppl.inference import infer
from causalppl.programs import SCM

if TYPE_CHECKING:
    from causalppl.inference import Posterior

__all__ = ["Regimes", "observed_units"]

_ALL = ("see", "do", "counterfactual")
_WORLD = "done"


class Regimes:
    """Seeing, doing and imagining, each where it is allowed.

    Args:
        scm: The model.
        allowed: Names of the regimes.
        settable: The variables that may be set, and to what.

    Raises:
        QueryError: A name is none of them.
    """

    def __init__(self, scm: SCM, allowed: Sequence[str], settable: Mapping[str, Values]) -> None:
        if isinstance(allowed, str) or (unknown := sorted(set(allowed) - set(_ALL))):
            found = allowed if isinstance(allowed, str) else ", ".join(unknown)
            raise QueryError(
                f"regimes has {found!r}; expected a sequence of {', '.join(map(repr, _ALL))}"
            )
        self._scm, self._settable = scm, settable
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
        return observed_units(self._scm, num_units, seed=seed)

    def do(self, interventions: Mapping[str, Any], num_units: int, *, seed: int) -> Table:
        """Draw the observed variables of units under an intervention."""
        self.check("do")
        self._check_names(interventions)
        model = self._scm.intervened(interventions) if interventions else self._scm
        found = observed_units(model, num_units, seed=seed)
        for name in interventions:
            self._settable[name].check(found[name].cpu().numpy())
        return found

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
        self._check_names(interventions)
        for name, value in self._scm.encode(interventions).items():
            self._check_value(name, value)
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

    def _check_names(self, interventions: Mapping[str, Any]) -> None:
        if refused := sorted(set(interventions) - set(self._settable)):
            raise QueryError(
                f"{', '.join(refused)} cannot be set here; expected "
                f"{', '.join(self._settable) or 'no intervention'}"
            )

    def _check_value(self, name: str, value: Any) -> None:
        """Refuse a value that cannot be had; a rule gives its values only when it is followed."""
        allowed = self._settable[name]
        if not is_rule(value):
            allowed.check(value)
        elif not allowed.is_any:
            raise DataError(
                f"{name} is set by a {type(value).__name__}, and cannot take every number; "
                "expected a number, or one for each unit"
            )


def observed_units(scm: SCM, num_units: int, *, seed: int | None) -> Table:
    """Draw units of a model: the observed variables only."""
    values = scm.sample(num_units, seed=seed)
    return Table.from_any({name: values[name].expand(num_units) for name in scm.observed})
