"""From an engine's draws, means and laws to the posterior of what was asked."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from causalppl.exceptions import ProgramError
from causalppl.inference.engine import Answer, Condition
from causalppl.inference.laws import FiniteLaw, Law, NormalLaw, PointLaw
from causalppl.inference.laws_by_unit import laws_of_all
from causalppl.inference.posterior import Posterior
from causalppl.inference.question import Question

_ROUNDING = 1e-7


def merge_patterns(
    parts: Sequence[tuple[torch.Tensor | None, Answer]],
    num_units: int,
    events: Sequence[Condition] = (),
) -> Answer:
    """Put together the answers for units with different values missing.

    Args:
        parts: Unit indices (None: all units) and the answer for them.
        num_units: Number of units in all.
        events: What a probability is asked of.
    """
    if len(parts) == 1 and parts[0][0] is None:
        return parts[0][1]
    answers = [(units, _with_probability(a, events)) for units, a in parts if units is not None]
    answers = _of_equal_length(answers)
    inner = max((v.shape[1] for _, a in answers for v in a.draws.values()), default=1)

    def scattered(pieces: list[tuple[torch.Tensor, torch.Tensor]], axis: int) -> torch.Tensor:
        shape = list(pieces[0][1].shape)
        # one row stands for all parameter draws where an answer does not depend on them
        shape[0], shape[axis] = max(len(piece) for _, piece in pieces), num_units
        result = pieces[0][1].new_empty(shape)
        for units, piece in pieces:
            whole = piece.to(result.dtype).expand(shape[0], *piece.shape[1:])
            result.index_copy_(axis, units.to(piece.device), whole)
        return result

    def widened(value: torch.Tensor) -> torch.Tensor:
        return value.expand(value.shape[0], inner, *value.shape[2:])

    first = answers[0][1]
    draws = {
        key: scattered([(u, widened(a.draws[key])) for u, a in answers], 2)
        for key in first.draws
        if all(key in a.draws for _, a in answers)
    }
    means = {
        key: scattered([(u, a.means[key]) for u, a in answers], 1)
        for key in first.means
        if all(key in a.means for _, a in answers)
    }
    probability = None
    if all(a.probability is not None for _, a in answers):
        probability = scattered([(u, a.probability) for u, a in answers], 1)  # type: ignore[misc]
    weights = None
    if any(a.log_weights is not None for _, a in answers):
        weights = scattered([(u, widened(_weights(a, len(u), inner))) for u, a in answers], 2)
    is_exact = all(a.is_exact for _, a in answers)
    laws: dict[str, Law] = {}
    if inner == 1 and is_exact:
        laws = {key: PointLaw(value[0]) for key, value in means.items() if len(value) == 1}
    for key in first.laws:
        if all(key in a.laws for _, a in answers):
            law = laws_of_all([(u, a.laws[key]) for u, a in answers], num_units)
            laws |= {} if law is None else {key: law}
    diagnostics: dict[str, Any] = {}
    for _, answer in answers:
        for name, value in answer.diagnostics.items():
            diagnostics[name] = _worse(name, diagnostics.get(name), value)
    notes = tuple(dict.fromkeys(note for _, a in answers for note in a.notes))
    return Answer(draws, means, laws, probability, weights, is_exact, diagnostics, notes)


def _of_equal_length(
    answers: list[tuple[torch.Tensor, Answer]],
) -> list[tuple[torch.Tensor, Answer]]:
    """Bring answers to one number of draws; single draws are constants, and are left alone.

    Engines differ in how many draws they keep: those that weigh keep more than were asked for, and
    memory allows fewer for many units. Without weights the surplus is dropped; with weights what is
    lacking is filled up with copies of weight zero.
    """
    sizes = [max((v.shape[1] for v in a.draws.values()), default=1) for _, a in answers]
    longer = [size for size in sizes if size > 1]
    if len(set(longer)) <= 1:
        return answers
    is_weighted = any(answer.log_weights is not None for _, answer in answers)
    length = max(longer) if is_weighted else min(longer)
    return [
        (units, answer if size in (1, length) else _resized(answer, len(units), size, length))
        for (units, answer), size in zip(answers, sizes, strict=True)
    ]


def _resized(answer: Answer, units: int, size: int, length: int) -> Answer:
    places = torch.arange(length) % size
    draws = {
        k: v if v.shape[1] == 1 else v[:, places.to(v.device)] for k, v in answer.draws.items()
    }
    if length < size:
        return replace(answer, draws=draws)
    weights = _weights(answer, units, size)[:, places]
    weights = weights.masked_fill((torch.arange(length) >= size)[:, None], -torch.inf)
    return replace(answer, draws=draws, log_weights=weights)


def assemble(
    question: Question,
    answer: Answer,
    *,
    engine: str,
    has_units: bool,
    average: bool,
    seed: int,
    labels: tuple[Any, ...] | None = None,
    parameter_weights: torch.Tensor | None = None,
) -> Posterior:
    """Turn an engine's answer into the posterior of what was asked.

    Args:
        question: What was asked.
        answer: What the engine returned.
        engine: The engine's name.
        has_units: Keep the units axis; otherwise there is one unnamed unit.
        average: Average over units.
        seed: The seed that was used.
        labels: Names of the units.
        parameter_weights: Normalised log weights of the parameter draws; None: equal.
    """
    fields: dict[str, Any] = {
        "query": question.text,
        "engine": engine,
        "is_exact": answer.is_exact,
        "assumptions": _assumptions(question),
        "couplings": question.couplings(),
        "diagnostics": _diagnostics(question, answer, average),
        "notes": answer.notes,
        "seed": seed,
        "is_mcmc": bool(answer.diagnostics.get("is_mcmc", False)),
    }
    if labels is not None and has_units and not average:
        fields["coords"] = {"units": list(labels)}
    if question.label:
        value, error = _number(question, answer)
        _check_finite(question.label, value)
        if average:
            value, error = value.mean(1), None if error is None else _mean_error(error)
        elif not has_units:
            value, error = value.squeeze(1), None if error is None else error.squeeze(0)
        if error is not None and len(value) > 1 and bool((error > 0).any()):
            value, note = _without_noise(value, error, parameter_weights)
            fields = {**fields, "is_exact": False, "notes": (*fields["notes"], note)}
        elif error is not None:
            bias = fields["diagnostics"].get(f"bias({question.label})", 0.0)
            error = (error**2 + bias**2).sqrt()
        has_units = has_units and not average
        return _of_numbers(question.label, value, error, has_units, fields, parameter_weights)
    return _of_laws(question, answer, has_units, fields, parameter_weights)


def _diagnostics(question: Question, answer: Answer, average: bool) -> dict[str, Any]:
    """Name an engine's diagnostics by what was asked; the bias of a sum is that of its parts."""
    found = {k: v for k, v in answer.diagnostics.items() if k != "is_mcmc" and "bias(" not in k}
    kind = "average_bias" if average else "bias"
    parts = [(weight, key) for weight, key in question.expectation]
    if question.events:
        parts = [(1.0, "events")]
    named = {name: [(1.0, key)] for name, key in question.variables.items()}
    if question.label:
        named = {question.label: parts}
    for name, terms in named.items():
        sizes = [(abs(w), f"{kind}({key})") for w, key in terms]
        if sizes and all(key in answer.diagnostics for _, key in sizes):
            found[f"bias({name})"] = sum(size * answer.diagnostics[key] for size, key in sizes)
    return found


def _check_finite(name: str, value: torch.Tensor) -> None:
    """Raise where a mechanism gave something that is no number."""
    bad = int((~torch.isfinite(value)).sum())
    if bad:
        raise ProgramError(
            f"{bad} of {value.numel()} values of {name} are NaN or infinite: some mechanism of the "
            "program is not defined at the values it met (a logarithm of a negative number, an "
            "overflow); check the program, the evidence and the interventions"
        )


def _with_probability(answer: Answer, events: Sequence[Condition]) -> Answer:
    """Write down the probability of events that exact values settle."""
    draws = answer.draws
    is_settled = answer.is_exact and all(
        event.key in draws and draws[event.key].shape[1] == 1 for event in events
    )
    if answer.probability is not None or not events or not is_settled:
        return answer
    holds = torch.stack([event.holds(draws[event.key][:, 0]) for event in events]).all(0)
    return replace(answer, probability=holds.to(torch.float64))


def _number(question: Question, answer: Answer) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the number asked for and its Monte Carlo standard error.

    The number has shape ``(parameter draws, units, *event)``; the error ``(units, *event)``, the
    root mean square over parameter draws, where the number is not exact.
    """
    if question.expectation:
        if all(key in answer.means for _, key in question.expectation):
            return sum_of(question, answer.means), None
        values = sum_of(question, answer.draws)
    else:
        if answer.probability is not None:
            return answer.probability, None
        holds = [e.holds(answer.draws[e.key]) for e in question.events]
        values = torch.stack(holds).all(0).to(torch.get_default_dtype())
    values = values.double()  # many small weights: float32 would lose some of their sum
    weights = _normalised(answer, values)
    mean = (weights * values).sum(1)
    if values.shape[1] == 1 and not answer.is_exact:
        return mean, None  # one draw tells nothing of its error
    spread = (weights**2 * (values - mean.unsqueeze(1)) ** 2).sum(1)
    unbiased = values.shape[1] / max(values.shape[1] - 1, 1)
    return mean, (unbiased * spread.mean(0)).sqrt()


def _without_noise(
    value: torch.Tensor, error: torch.Tensor, log_weights: torch.Tensor | None
) -> tuple[torch.Tensor, str]:
    """Take the Monte Carlo variance of each parameter draw's number out of their spread.

    The variance over parameter draws is that of the posterior plus the mean variance of the inner
    averages; shrinking towards the mean leaves the former.
    """
    centre, variance = value.mean(0), value.var(0)
    if log_weights is not None:
        weights = log_weights.to(value).exp().reshape(-1, *[1] * (value.dim() - 1))
        centre = (weights * value).sum(0)
        variance = (weights * (value - centre) ** 2).sum(0)
    left = ((variance - error**2) / variance.clamp_min(1e-300)).clamp_min(0.0)
    note = "the Monte Carlo variance of simulated averages was taken out of the spread"
    if bool((left < 0.2).any()):
        note += "; most of it was such variance, so the spread is rough: raise num_draws"
    return centre + (value - centre) * left.sqrt(), note


def sum_of(question: Question, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the weighted sum of an expectation's parts."""
    total: torch.Tensor | None = None
    for weight, key in question.expectation:
        value = parts[key]
        if not value.is_floating_point():
            value = value.to(torch.get_default_dtype())
        part = value if weight == 1.0 else weight * value
        total = part if total is None else total + part
    assert total is not None
    return total


def _normalised(answer: Answer, values: torch.Tensor) -> torch.Tensor:
    """Return weights over the inner draws that sum to one and broadcast against ``values``."""
    if answer.log_weights is None:
        return values.new_full((1,) * values.dim(), 1.0 / values.shape[1])
    weights = torch.softmax(answer.log_weights.to(values.dtype), 1)
    return weights.reshape(weights.shape + (1,) * (values.dim() - weights.dim()))


def _mean_error(error: torch.Tensor) -> torch.Tensor:
    return (error**2).sum(0).sqrt() / len(error)


def _of_numbers(
    label: str,
    value: torch.Tensor,
    error: torch.Tensor | None,
    has_units: bool,
    fields: dict[str, Any],
    log_weights: torch.Tensor | None,
) -> Posterior:
    if len(value) > 1:  # the spread over parameter draws is the posterior
        event = [f"{label}_dim_{i}" for i in range(1, value.dim() - has_units)]
        dims = {label: ["units", *event] if has_units else event}
        logs = None if log_weights is None else log_weights.unsqueeze(0)
        draws = {label: value.unsqueeze(0)}
        return Posterior.from_draws(draws, dims=dims, log_weights=logs, **fields)
    law: Law = PointLaw(value[0])
    # an error at the level of rounding means that every draw gave the same number
    scale = _ROUNDING * value[0].abs().clamp_min(1.0)
    if error is not None and bool((error > scale).any()):
        law = NormalLaw(value[0], error)
        note = "the spread is Monte Carlo error only; the program's parameters are taken as given"
        fields = {**fields, "is_exact": False, "notes": (*fields["notes"], note)}
    return Posterior.from_draws({}, laws={label: law}, **fields)


def _of_laws(
    question: Question,
    answer: Answer,
    has_units: bool,
    fields: dict[str, Any],
    parameter_weights: torch.Tensor | None,
) -> Posterior:
    draws, dims = {}, {}
    laws = {
        name: answer.laws[key]
        for name, key in question.variables.items()
        if has_units and key in answer.laws
    }
    for name, key in question.variables.items():
        if key not in answer.draws:
            continue
        value = answer.draws[key]
        _check_finite(name, value)
        value = value.reshape(1, value.shape[0] * value.shape[1], *value.shape[2:])
        event = [f"{name}_dim_{i}" for i in range(1, value.dim() - 2)]
        if not has_units:
            value = value.squeeze(2)
        draws[name] = value
        dims[name] = ["units", *event] if has_units else event
    if not has_units:
        laws = {
            name: _single(answer.laws[key])
            for name, key in question.variables.items()
            if key in answer.laws
        }
    weights = _joint_weights(answer, parameter_weights)
    if weights is not None:
        weights = weights.reshape(1, -1, weights.shape[2])
        weights = weights if has_units else weights.squeeze(2)
    categories = {
        name: question.scm.categories[key.split("@")[0]]
        for name, key in question.variables.items()
        if key.split("@")[0] in question.scm.categories
    }
    return Posterior.from_draws(
        draws, dims=dims, laws=laws, categories=categories, log_weights=weights, **fields
    )


def _joint_weights(answer: Answer, outer: torch.Tensor | None) -> torch.Tensor | None:
    """Weights of parameter draws and of the draws under each, ``(draws, inner draws, units)``."""
    if outer is None or not answer.draws:
        return answer.log_weights
    value = next(iter(answer.draws.values()))
    inner = answer.log_weights
    if inner is None:
        inner = outer.new_zeros(1, *value.shape[1:3])
    inner = inner.double().log_softmax(1).expand(len(value), *value.shape[1:3])
    return inner + outer.to(inner.device).reshape(-1, 1, 1)


def _single(law: Law) -> Law:
    """Take the law of the first unit."""
    if isinstance(law, PointLaw):
        return PointLaw(law.value[0])
    if isinstance(law, NormalLaw):
        return NormalLaw(law.loc[0], law.scale[0])
    if isinstance(law, FiniteLaw):
        return FiniteLaw(law.values, law.probabilities[0], law.labels)
    raise TypeError(f"no single law out of a {type(law).__name__}")


def _assumptions(question: Question) -> tuple[str, ...]:
    found = ["the program is the causal model"]
    draws = max((len(v) for v in question.scm.parameters.values()), default=0)
    if draws:
        record = question.scm.fit_record
        how = f", {record.interpret().rstrip('.').replace('Fitted', 'fitted', 1)}" if record else ""
        found.append(f"parameters by {draws} draws{how}")
    return tuple(found)


def _weights(answer: Answer, units: int, inner: int) -> torch.Tensor:
    if answer.log_weights is not None:
        return answer.log_weights
    return torch.zeros(1, inner, units)


def _worse(name: str, old: Any, new: Any) -> Any:
    if old is None:
        return new
    if isinstance(old, list) or isinstance(new, list):
        first, second = (v if isinstance(v, list) else [v] for v in (old, new))
        return [*first, *second]
    return min(old, new) if name.startswith("ess") else max(old, new)
