"""The likelihood of each row that a model was fitted to, under each draw of its parameters."""

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from causalppl.exceptions import AssumptionError, DataError, ProgramError
from causalppl.given import told
from causalppl.inference.engine import Problem
from causalppl.inference.fit_method import FitRecord
from causalppl.inference.khat import LEAST_DRAWS
from causalppl.inference.log_density import defaults_of
from causalppl.inference.refusals import find_refusal
from causalppl.inference.training_data import TrainingData
from causalppl.inference.unit_likelihood import UnitLikelihood, unit_likelihood
from causalppl.programs.scm import SCM

_AT_ONCE: Final = 2**23
"""Draws times rows in one part; few parts are best for programs that run draw by draw."""

_INTEGRATED_AT_ONCE: Final = 2**15
"""The same where each unit has continuous latents, at about a hundred points of which it runs."""


class RowLikelihood:
    """The rows of a fit, part after part, with their log likelihoods.

    Latents of the units and missing values are summed or integrated out, see `unit_likelihood`:
    what is told is never the likelihood given a latent.

    Args:
        scm: A fitted model.

    Attributes:
        record: How it was fitted.
        data: The rows.
        num_draws: Number of draws of the parameters.

    Raises:
        DataError: The model was not fitted, its file was written without rows, or it has fewer
            than 100 draws.
        AssumptionError: There is no posterior to speak of, or some data are not in the rows.
    """

    def __init__(self, scm: SCM) -> None:
        self.record, self.data = _record_of(scm)
        self.scm = scm
        self.num_draws = _num_draws(scm)
        _check_data_in_rows(scm)

    def parts(self) -> Iterator[tuple[Tensor, UnitLikelihood]]:
        """Evaluate part after part.

        Yields:
            Positions of rows, and their likelihoods ``(draws, rows of the part)``.

        Raises:
            AssumptionError: A latent of the units can be neither summed out nor integrated.
        """
        for rows, names in self._patterns():
            if not names:  # nothing is known of these rows: a density of one
                yield rows, UnitLikelihood(torch.zeros(self.num_draws, len(rows)).double())
                continue
            for part in rows.split(self._step(names)):
                yield part, self._evaluated(part, names)

    def _patterns(self) -> Iterator[tuple[Tensor, list[str]]]:
        """Rows that lack the same values, and the sites that have one."""
        gaps = self.data.gaps
        if not gaps:
            yield torch.arange(self.data.num_rows), list(self.data.values)
            return
        masks = torch.stack([gap.cpu() for gap in gaps.values()], 1)
        patterns, which = masks.unique(dim=0, return_inverse=True)
        for i, pattern in enumerate(patterns.tolist()):
            lacking = {name for name, is_gone in zip(gaps, pattern, strict=True) if is_gone}
            yield (
                (which == i).nonzero().squeeze(1),
                [name for name in self.data.values if name not in lacking],
            )

    def _step(self, names: list[str]) -> int:
        """Rows that are evaluated at once."""
        structure = self.scm.structure
        above = structure.ancestors(set(names)) - set(names)
        is_continuous = any(
            site.is_unit and site.kind == "sample" and not site.is_discrete
            for site in (structure.sites[name] for name in above)
        )
        return max(1, (_INTEGRATED_AT_ONCE if is_continuous else _AT_ONCE) // self.num_draws)

    def _evaluated(self, rows: Tensor, names: list[str]) -> UnitLikelihood:
        values = self.data.values
        evidence = {name: values[name][rows.to(values[name].device)] for name in names}
        problem = Problem(self.scm, len(rows), {}, evidence, ())
        if (reason := find_refusal(problem)) is not None:
            raise _without_likelihood(reason)
        try:
            with defaults_of(self.data):
                found = unit_likelihood(problem)
        except ProgramError as error:
            raise _without_likelihood(str(error)) from error
        if isinstance(found, str):
            names = [name for name in self.scm.structure.unit_sites if name not in evidence]
            raise _without_likelihood(
                f"the latents among {', '.join(names)} cannot be integrated out reliably: {found}"
            )
        return found


def _without_likelihood(reason: str) -> AssumptionError:
    return AssumptionError(
        f"the rows' likelihood cannot be had ({reason}); expected latents of the units that are "
        "finite, or continuous with a posterior of one mode; give them finite values, observe "
        "them, or compare the models by their predictions of rows kept out of the fit"
    )


def _record_of(scm: SCM) -> tuple[FitRecord, TrainingData]:
    record = scm.fit_record if isinstance(scm, SCM) else None
    if not isinstance(record, FitRecord):
        what = "a model that was not fitted" if isinstance(scm, SCM) else told(scm)
        raise DataError(f"found {what}; expected the model that fit returns: fit(program, data)")
    if record.data is None:
        raise DataError(
            "the model was saved without the rows that it was fitted to; expected them; save it "
            "with save(path, with_data=True), or fit it again"
        )
    return record, record.data


def _num_draws(scm: SCM) -> int:
    sites = scm.structure.sites
    draws = {name: x for name, x in scm.parameters.items() if sites[name].kind == "sample"}
    points = [
        name
        for name, x in draws.items()
        if x.is_floating_point() and bool((x == x[:1]).all()) and len(x) > 1
    ]
    if not draws or points:
        what = f"all draws of {', '.join(points)} are equal" if points else "there are no draws"
        raise AssumptionError(
            f"{what}, so that nothing tells how the fit would change without a row; expected draws "
            "from a posterior; give pyro.param statements a prior (pyro.sample), and use SVIFit() "
            "with its own guide, or NUTSFit()"
        )
    count = len(next(iter(draws.values())))
    if count < LEAST_DRAWS:
        raise DataError(
            f"the model has {count} draws of its parameters; expected at least {LEAST_DRAWS}, as "
            "their weights are smoothed; fit again with a higher num_draws="
        )
    return count


def _check_data_in_rows(scm: SCM) -> None:
    for name, site in scm.structure.sites.items():
        if site.is_unit and site.is_observed:
            raise AssumptionError(
                f"{site.line}: the data of the unit site {name!r} stand in the program (obs=, or "
                "pyro.factor), so that a row cannot be left out; write a sample site without obs= "
                "and give its data to fit as a column"
            )
