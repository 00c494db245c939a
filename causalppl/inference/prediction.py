"""What is asked of a problem, predicted from draws of its latents."""

from collections.abc import Callable

import torch
from torch import Tensor

from causalppl.inference.evidence_program import EvidenceProgram
from causalppl.inference.laws import CHUNK
from causalppl.programs.simulate import simulate
from causalppl.typing import Values


def predict(
    program: EvidenceProgram, index: Tensor, values: Values, can_broadcast: Callable[[], bool]
) -> dict[str, Tensor]:
    """Predict all keys of a problem.

    Args:
        program: The problem's evidence program.
        index: Parameter draw of each row.
        values: Latent to values, shape ``(rows, *batch, *event)``.
        can_broadcast: Whether the program runs for several rows at once.

    Returns:
        Key to values, shape ``(rows, units, *plates, *event)``.
    """
    width = program.problem.num_units * (1 + len(program.worlds)) * len(program.structure.sites)
    step = max(1, 8 * CHUNK // width)
    if program.is_twin and min(step, len(index)) > 1 and not can_broadcast():
        step = 1
    way = _of_twin if program.is_twin else _of_simulation
    pieces = [
        way(program, index[i : i + step], {name: v[i : i + step] for name, v in values.items()})
        for i in range(0, len(index), step)
    ]
    return {key: torch.cat([piece[key] for piece in pieces]) for key in program.keys}


@torch.no_grad()
def _of_simulation(program: EvidenceProgram, index: Tensor, values: Values) -> dict[str, Tensor]:
    parameters = {name: v[index.to(v.device)] for name, v in program.scm.parameters.items()}
    # the noise of discrete evidence is drawn: for each row anew
    seen = {
        name: v.expand((len(index), *v.shape)) if program.structure.sites[name].is_discrete else v
        for name, v in program.evidence.items()
    }
    result = simulate(
        program.scm,
        program.problem.num_units,
        program.keys,
        worlds=program.worlds,
        given={**parameters, **seen, **values},
        num_draws=len(index),
    )
    return {key: result[key] for key in program.keys}


@torch.no_grad()
def _of_twin(program: EvidenceProgram, index: Tensor, values: Values) -> dict[str, Tensor]:
    with program.active():
        result = program.model(
            index, [program.given(values)], is_hiding=False, is_predicting=True
        )()
    split = program.problem.split
    return {
        key: program.axis.to_units(split(key)[0], result[key], len(index)) for key in program.keys
    }
