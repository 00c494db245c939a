"""A trained guide for all units: draws, their weights, and files."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any, ClassVar

import torch
from torch import Tensor

from causalppl.exceptions import DataError, ProgramError
from causalppl.inference.amortised_inputs import find_tie, input_numbers
from causalppl.inference.amortised_network import Network, Spec
from causalppl.inference.engine import Answer, Engine, Problem
from causalppl.inference.fingerprint import Fingerprint
from causalppl.inference.guide_bias import bias_diagnostics
from causalppl.inference.importance import can_be_split, of_units
from causalppl.inference.khat import LEAST_DRAWS, judge
from causalppl.inference.latents import Latents
from causalppl.inference.progress import progress_bar
from causalppl.inference.refusals import find_refusal
from causalppl.inference.resampling import settled
from causalppl.seeding import forked_rng
from causalppl.typing import Values

_JUDGED = 256  # units by which plain draws are judged
_JUDGED_DRAWS = 4  # parameter draws by which they are
_CHUNK = 2**18  # units in one forward pass
_CHEAP = 2_000_000  # draws of units that are weighed unasked
_FORMAT = 2


@dataclass(frozen=True, eq=False)
class TrainedAmortised(Engine):
    """A trained `Amortised` guide, for problems with the evidence that it was trained for.

    Attributes:
        network: The guide.
        fingerprint: The program that it was trained for.
        correct: See `Amortised`.
        history: ``loss``, the mean negative log density of each step's batch, in nats.

    Example:
        >>> trained = Amortised().train(scm, ["X", "Y"], seed=0)  # doctest: +SKIP
        >>> trained.save("guide.pt")  # doctest: +SKIP
    """

    name: ClassVar[str] = "Amortised"

    network: Network
    fingerprint: Fingerprint
    correct: bool | None = None
    history: Mapping[str, list[float]] = field(default_factory=dict)

    def refusal(self, problem: Problem) -> str | None:
        """See `Engine.refusal`."""
        spec = self.network.spec
        if set(problem.evidence) != set(spec.evidence):
            return (
                f"the guide was trained for evidence on {', '.join(spec.evidence)}, and the "
                f"evidence is on {', '.join(problem.evidence) or 'nothing'}; train one for it"
            )
        missing = [name for name in spec.parameters if name not in problem.scm.parameters]
        if missing:
            return f"the guide takes draws of {', '.join(missing)}, and the model has none"
        return find_refusal(problem) or find_tie(problem)

    def solve(self, problem: Problem, *, seed: int, progress: bool = False) -> Answer:
        """See `Engine.solve`.

        Raises:
            ProgramError: The guide was trained for another program.

        Warns:
            ConvergenceWarning: k-hat is above 0.7 for some of the units that were judged, or draws
                that were not weighed are clearly biased.
        """
        num_draws = problem.num_draws
        with forked_rng(seed), torch.no_grad():
            latents = Latents(problem)
            self._check_program(latents)
            if not latents.sites:
                return latents.answer({}, num_draws, is_exact=True)
            if not self._weighs(problem):
                with latents.active():
                    values, *_ = self._draw(latents, num_draws, progress)
                judged = self._judge(problem)
                return latents.answer(values, num_draws, diagnostics=judged)
            with latents.active():
                count = max(num_draws, LEAST_DRAWS)
                values, log_q, unit = self._draw(latents, count, progress)
                ratios = self._ratios(latents, count, values, log_q, unit)
                weights, diagnostics = judge(ratios, ratios, False)
                assert weights is not None
                effective = 1 / torch.softmax(weights.double(), 1).square().sum(1).amin(0)
                values, kept = settled(latents, values, weights, num_draws)
            diagnostics["ess"] = effective.tolist()
            return latents.answer(values, num_draws, kept, diagnostics=diagnostics)

    def _weighs(self, problem: Problem) -> bool:
        if self.correct is not None:
            return self.correct
        count = max(problem.num_draws, LEAST_DRAWS)
        return problem.num_units * problem.num_parameter_draws * count <= _CHEAP

    def save(self, path: str | PathLike[str]) -> None:
        """Write the guide to a file; `load` reads it without executing code from it."""
        state = self.network.state_dict()
        torch.save(
            {
                "format": _FORMAT,
                "spec": self.network.spec.to_plain(),
                "state": dict(state),
                "tables": self.network.tables,
                "fingerprint": self.fingerprint.to_plain(),
                "correct": self.correct,
                "history": {key: list(value) for key, value in self.history.items()},
            },
            path,
        )

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "TrainedAmortised":
        """Read a guide that `save` wrote.

        Raises:
            DataError: The file is not one of these.
        """
        try:
            found = torch.load(path, weights_only=True)
        except FileNotFoundError:
            raise
        except Exception as error:  # torch raises a different one for each kind of junk
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise DataError(
                f"{path!s} cannot be read as a trained guide ({reason}); expected a file that "
                "TrainedAmortised.save wrote"
            ) from error
        if not isinstance(found, dict) or found.get("format") != _FORMAT:
            raise DataError(
                f"{path!s} is not a trained guide of format {_FORMAT}; save it again with this "
                "version"
            )
        missing = {"spec", "state", "tables", "fingerprint", "correct", "history"} - set(found)
        if missing:
            raise DataError(
                f"{path!s} lacks {', '.join(sorted(missing))}; expected a file that "
                "TrainedAmortised.save wrote; save it again"
            )
        network = Network(Spec.from_plain(found["spec"]))
        state = found["state"]
        network.to(next(value for value in state.values() if value.is_floating_point()))
        network.shape_like(state)
        network.load_state_dict(state)
        network.tables = found["tables"]
        mark = Fingerprint.from_plain(found["fingerprint"])
        return cls(network.eval(), mark, found["correct"], found["history"])

    def _check_program(self, latents: Latents) -> None:
        found = tuple((s.name, s.size, s.is_discrete) for s in latents.sites)
        if found != self.network.spec.latents:
            raise ProgramError(
                f"the guide was trained for the latents {[s[0] for s in self.network.spec.latents]}"
                f", and the model's are {[s[0] for s in found]}; train it for this model"
            )
        self.fingerprint.check(latents.problem)

    def _draw(
        self, latents: Latents, count: int, progress: bool
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Draw all latents, ``count`` times for each parameter draw.

        Returns:
            Values of the latents with ``parameter draws * count`` rows, log densities
            ``(rows, units)`` and the unconstrained latents.
        """
        n, spec = latents.problem.num_units, self.network.spec
        rows = torch.arange(latents.num_parameter_draws)
        numbers = input_numbers(latents, spec, latents.problem.evidence, rows)
        unit = numbers.new_empty(len(rows), count, n, spec.size)
        log_q = numbers.new_empty(len(rows), count, n)
        classes = torch.zeros(len(rows), count, n, dtype=torch.long, device=numbers.device)
        step = max(1, _CHUNK // count)
        pieces = [(r, slice(i, i + step)) for r in range(len(rows)) for i in range(0, n, step)]
        with progress_bar(len(pieces), "drawing latents", progress=progress) as bar:
            for r, piece in pieces:
                features = self.network.features(numbers[r, piece])
                drawn = self.network.sample(features, count)
                unit[r, :, piece], classes[r, :, piece], log_q[r, :, piece] = drawn
                bar.update()
        index = rows.repeat_interleave(count)
        flat = unit.flatten(0, 1)
        values = dict(latents.constrain(index, flat))
        values |= self._discrete(latents, classes.flatten(0, 1))
        return values, log_q.flatten(0, 1), flat

    def _discrete(self, latents: Latents, classes: Tensor) -> dict[str, Tensor]:
        """Turn combinations into values of each discrete latent."""
        values = {}
        for site in reversed(latents.discrete):
            table = self.network.tables[site.name].to(classes.device)
            code = classes % len(table)
            classes = classes // len(table)
            # (rows, units, *event) with one value per unit
            value = table[code]
            shape = (len(classes), *site.batch_shape, *site.event_shape)
            units_at = site.units_dim - len(site.event_shape)
            inner = len(site.batch_shape) - 1
            value = value.reshape(*value.shape[:2], *(1,) * inner, *value.shape[2:])
            values[site.name] = value.movedim(1, units_at).reshape(shape)
        return values

    def _ratios(
        self, latents: Latents, count: int, values: Values, log_q: Tensor, unit: Tensor
    ) -> Tensor:
        index = latents.parameter_index(count)
        discrete = {site.name: values[site.name] for site in latents.discrete}
        log_p, _ = latents.log_density(index, unit, None, discrete or None)
        return (log_p - log_q).reshape(latents.num_parameter_draws, count, -1)

    def _judge(self, problem: Problem) -> dict[str, Any]:
        """Judge plain draws: weigh more draws for units and parameter draws chosen at random."""
        n, count = problem.num_units, 2 * LEAST_DRAWS
        some = problem
        if n > _JUDGED and can_be_split(problem):
            some = of_units(problem, torch.randperm(n)[:_JUDGED])
        if problem.num_parameter_draws > _JUDGED_DRAWS:
            chosen = torch.randperm(problem.num_parameter_draws)[:_JUDGED_DRAWS]
            draws = {name: v[chosen.to(v.device)] for name, v in problem.scm.parameters.items()}
            some = replace(some, scm=problem.scm.with_parameters(draws))
        latents = Latents(some)
        with latents.active():
            values, log_q, unit = self._draw(latents, count, False)
            ratios = self._ratios(latents, count, values, log_q, unit)
        weights, diagnostics = judge(ratios, ratios, False)
        assert weights is not None
        if some.num_units < n:
            diagnostics = {"khat": max(diagnostics["khat"])}
        answer = latents.answer(values, count)
        return diagnostics | bias_diagnostics(problem, answer, weights)
