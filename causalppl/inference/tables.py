"""Conditional probability tables of a program, read from runs of it.

All configurations of a site's parents are laid out as consecutive units of a run, a *block*. The
parents are set, deterministic ones too, and the site's distribution is read. Blocks that set no
site in common share units, so a chain of a hundred binary sites costs one run of a few units.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import pyro
import pyro.distributions as dist
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.nn.functional import logsigmoid

from causalppl.exceptions import ProgramError
from causalppl.programs.counts import bernoulli_logits, counts_of, log_mass, log_probs
from causalppl.programs.scm import SCM, Given
from causalppl.programs.structural import Coupling, coupling_for
from causalppl.programs.structure import TRACE_UNITS
from causalppl.programs.targets import prototype
from causalppl.programs.wrappers import unwrap
from causalppl.seeding import forked_rng

__all__ = [
    "Block",
    "ProgramTables",
    "SiteLaw",
    "finite_support",
    "log_law",
]

_UNITS_PER_RUN = 2**18
_CATEGORICAL = (torch.distributions.Categorical, torch.distributions.OneHotCategorical)
_BY_THRESHOLDS = (dist.OrderedLogistic, torch.distributions.Binomial, dist.BetaBinomial)


def finite_support(fn: Any) -> Tensor | str:
    """Return the values of a distribution, or the reason why they cannot be listed.

    Returns:
        Shape ``(K, *event)``, in increasing order.

    Example:
        >>> finite_support(dist.Binomial(2, torch.tensor(0.5)))
        tensor([0., 1., 2.])
        >>> finite_support(dist.Normal(0.0, 1.0))
        'Normal is not discrete'
    """
    base, _, reinterpreted = unwrap(fn)
    family = type(base).__name__
    if not getattr(base.support, "is_discrete", False):
        return f"{family} is not discrete"
    if reinterpreted:
        return f"{family} is made one vector by to_event; write its entries as sites"
    if not base.has_enumerate_support:
        return f"{family} has infinitely many values"
    try:
        values: Tensor = base.enumerate_support(expand=False)
    except NotImplementedError as error:
        return f"the values of {family} cannot be listed ({error})"
    return values.reshape(len(values), *base.event_shape)


def log_law(fn: Any, support: Tensor) -> Tensor:
    """Return log probabilities of all values, float64 whatever the distribution's dtype.

    Args:
        fn: A distribution with finite support.
        support: Its values, shape ``(K, *event)``.

    Returns:
        Shape ``(*batch, K)``; exact zeros are ``-inf``. The batch is that of ``fn`` up to
        broadcasting.

    Example:
        >>> log_law(dist.Bernoulli(torch.tensor(1e-30)), torch.tensor([0.0, 1.0])).exp()[1]
        tensor(1.0000e-30, dtype=torch.float64)
    """
    base = unwrap(fn).base
    if isinstance(base, torch.distributions.Bernoulli):
        logits = bernoulli_logits(base)
        return torch.stack([logsigmoid(-logits), logsigmoid(logits)], -1)
    if isinstance(base, _BY_THRESHOLDS):
        k = support.double().reshape((-1,) + (1,) * len(base.batch_shape))
        low, high = counts_of(base).interval(k)
        return _normalised(log_mass(low, high).movedim(0, -1))
    if isinstance(base, _CATEGORICAL):
        return _normalised(log_probs(base))
    event = support.shape[1:]
    values = support.reshape((-1,) + (1,) * len(base.batch_shape) + event)
    return _normalised(base.log_prob(values).double().movedim(0, -1))


def _normalised(log: Tensor) -> Tensor:
    return log - log.logsumexp(-1, keepdim=True)


# -- reading a program ---------------------------------------------------------------------------


@dataclass(frozen=True)
class SiteLaw:
    """What one small run shows of a unit site.

    Attributes:
        support: The values it can take, shape ``(K, *event)``; None if they cannot be listed.
        reason: Why they cannot.
        coupling: How worlds share its noise; None for a deterministic site or a family without.
        like: A tensor of the dtype and device that a value must have; None leaves them open.
        value: The values in the small run.
    """

    support: Tensor | None
    reason: str
    coupling: Coupling | None
    like: Tensor | None
    value: Tensor


@dataclass(frozen=True)
class Block:
    """Units of a run that are laid out to read one site.

    Attributes:
        site: The site to read.
        size: Number of units.
        given: Site to values, shape ``(size, *event)``.
        density_at: Read the log density at these values, shape ``(size, *event)``. None reads
            the log law of a finite site, and the computed value of a deterministic one.
        reads_law: Whether a law or density is read, which may be void (not a number) somewhere.
        computed: Deterministic sites that must be left to the program.
    """

    site: str
    size: int
    given: Mapping[str, Tensor]
    density_at: Tensor | None = None
    reads_law: bool = True
    computed: tuple[str, ...] = ()

    def described(self, unit: int) -> str:
        """Return what is given to a unit, for messages."""
        given = (f"{name} = {value[unit].tolist()}" for name, value in self.given.items())
        return ", ".join(given) or "its parents"

    def part(self, start: int, stop: int) -> "Block":
        """Return some of the units."""
        piece = slice(start, stop)
        at = None if self.density_at is None else self.density_at[piece]
        given = {name: value[piece] for name, value in self.given.items()}
        return replace(self, size=stop - start, given=given, density_at=at)


class ProgramTables:
    """Reads tables out of a model's program.

    Args:
        scm: The model; its parameter draws make the leftmost axis of what is read.

    Attributes:
        sites: Unit site to `SiteLaw`.
        num_draws: Number of parameter draws, 1 if there are none.
    """

    def __init__(self, scm: SCM) -> None:
        self.scm = scm
        self.structure = scm.structure
        self.num_draws = max((len(draws) for draws in scm.parameters.values()), default=1)
        self._is_batched: bool | None = None
        self.sites = self._probe()

    # -- shapes ---------------------------------------------------------------------------------

    def lift(self, values: Tensor, event_dim: int) -> Tensor:
        """Bring values ``(n, *event)`` to the shape that they have inside the program."""
        right = self._right
        event = values.shape[values.dim() - event_dim :]
        return values.reshape(*values.shape[:1], *((1,) * right), *event)

    @property
    def _right(self) -> int:
        assert self.structure.units_dim is not None
        return -self.structure.units_dim - 1

    def per_unit(self, values: Tensor, right: int, size: int) -> Tensor:
        """Bring a tensor from inside the program to ``(draws or 1, size, *right)``.

        Args:
            values: Shape ``(*batch, *right)``.
            right: Number of dimensions that are not batch dimensions.
            size: Number of units.
        """
        plates = self.structure.plate_nesting
        batch = values.dim() - right
        if batch > plates + 1:
            raise ProgramError(
                f"a site has {batch} batch dimensions; expected at most {plates + 1}; index event "
                "dimensions of parameters from the right"
            )
        assert self.structure.units_dim is not None
        values = values.reshape((1,) * (plates + 1 - batch) + values.shape)
        values = values.movedim(plates + 1 + self.structure.units_dim, 1)
        values = values.reshape(*values.shape[:2], *values.shape[plates + 1 :])
        return values.expand(values.shape[0], size, *values.shape[2:])

    # -- runs -----------------------------------------------------------------------------------

    def read(self, blocks: Sequence[Block], default: Mapping[str, Tensor]) -> list[Tensor]:
        """Run the program on blocks of units and read one site in each.

        Args:
            blocks: What to set and what to read.
            default: Site to one value, shape ``event``, that it gets in the other blocks.

        Returns:
            For each block, a log law ``(draws or 1, size, K)``, a log density
            ``(draws or 1, size)`` or values ``(draws or 1, size, *event)``.

        A law or density is not a number where the distribution's parameters are not valid.

        Raises:
            ProgramError: A deterministic value is not a number, or a support varies.
        """
        parts: list[list[Tensor]] = [[] for _ in blocks]
        for size, run in _runs(blocks):
            pieces = [(place, blocks[i].part(start, stop)) for i, place, start, stop in run]
            for (i, *_), result in zip(run, self._read_run(pieces, size, default), strict=True):
                parts[i].append(result)
        return [torch.cat(_same_draws(part), 1) for part in parts]

    def _read_run(
        self, blocks: "_Placed", size: int, default: Mapping[str, Tensor]
    ) -> list[Tensor]:
        values = dict(self._filled(blocks, default, size))
        if not self.scm.parameters:
            return self._extract(blocks, size, values, {})
        if self._is_batched is None:
            self._is_batched = self.num_draws > 1 and self._can_batch(blocks, size, values)
        if self._is_batched:
            return self._extract(blocks, size, values, self._all_parameters())
        each = [
            self._extract(blocks, size, values, self._parameters(d)) for d in range(self.num_draws)
        ]
        return [torch.cat(results) for results in zip(*each, strict=True)]

    def attained(
        self, size: int, values: Mapping[str, Tensor], names: Sequence[str]
    ) -> dict[str, Tensor]:
        """Run forward with some sites set; return values of others, ``(size, *event)``."""
        parameters = self._parameters(0) if self.scm.parameters else {}
        settings = {name: _Setting(value, None) for name, value in values.items()}
        found = self._run(size, settings, names, parameters)
        sites = self.structure.sites
        return {
            name: self.per_unit(value, sites[name].event_dim, size)[0]
            for name, (_, value) in found.items()
        }

    def _filled(
        self, blocks: "_Placed", default: Mapping[str, Tensor], size: int
    ) -> Iterator[tuple[str, "_Setting"]]:
        segments: dict[str, list[tuple[int, Tensor]]] = {}
        for place, block in blocks:
            for name, value in block.given.items():
                segments.setdefault(name, []).append((place, value))
        for name in default.keys() | segments.keys():
            pieces = segments.get(name, [])
            fill = default[name] if name in default else pieces[0][1][0]
            whole = fill.expand(size, *fill.shape)
            is_set = torch.zeros(size, dtype=torch.bool, device=fill.device)
            if pieces:
                dtype = fill.dtype
                for _, value in pieces:
                    dtype = torch.promote_types(dtype, value.dtype)
                whole = whole.to(dtype).clone()
                for at, value in pieces:
                    whole[at : at + len(value)] = value
                    is_set[at : at + len(value)] = True
            yield name, _Setting(whole, None if name in default else is_set)

    def _extract(
        self,
        blocks: "_Placed",
        size: int,
        values: Mapping[str, "_Setting"],
        parameters: Mapping[str, Tensor],
    ) -> list[Tensor]:
        found = self._run(size, values, {block.site for _, block in blocks}, parameters)
        laws: dict[str, Tensor] = {}
        results = []
        for place, block in blocks:
            fn, value = found[block.site]
            if block.density_at is not None:
                result = self._density(block, fn, place, size)
            else:
                if block.site not in laws:
                    laws[block.site] = self._law_or_value(block.site, fn, value, size)
                result = laws[block.site]
            results.append(_checked(block, result[:, place : place + block.size]))
        return results

    def _law_or_value(self, name: str, fn: Any, value: Tensor, size: int) -> Tensor:
        site = self.structure.sites[name]
        if site.kind == "deterministic":
            return self.per_unit(value, site.event_dim, size)
        support = self.sites[name].support
        assert support is not None
        here = finite_support(fn)
        if isinstance(here, str) or here.shape != support.shape:
            raise ProgramError(
                f"the values of the site {name!r} depend on its parents ("
                f"{here if isinstance(here, str) else f'{len(here)} or {len(support)} of them'}); "
                "expected the same finite support everywhere; give it one total_count"
            )
        return self.per_unit(log_law(fn, support), 1, size)

    def _density(self, block: Block, fn: Any, start: int, size: int) -> Tensor:
        assert block.density_at is not None
        at, event_dim = block.density_at, self.structure.sites[block.site].event_dim
        whole = at[:1].expand(size, *at.shape[1:]).clone()
        whole[start : start + block.size] = at
        whole = self.lift(whole, event_dim)
        log = fn.log_prob(whole).double()
        is_possible = fn.support.check(whole)
        return self.per_unit(torch.where(is_possible, log, -float("inf")), 0, size)

    def _run(
        self,
        size: int,
        values: Mapping[str, "_Setting"],
        names: Any,
        parameters: Mapping[str, Tensor],
    ) -> dict[str, tuple[Any, Tensor]]:
        sites = self.structure.sites
        lifted = {name: self._lifted(each, sites[name].event_dim) for name, each in values.items()}
        reader = _SetAndRead(lifted, frozenset(names))
        with (
            forked_rng(0),
            self.scm.running(),
            torch.no_grad(),
            pyro.validation_enabled(False),
            Given(parameters),
            reader,
        ):
            self.scm.program(size)
        return reader.found

    def _lifted(self, setting: "_Setting", event_dim: int) -> "_Setting":
        values, where = setting
        if where is not None:
            where = self.lift(where, 0).reshape(-1, *((1,) * (self._right + event_dim)))
        return _Setting(self.lift(values, event_dim), where)

    # -- parameters -----------------------------------------------------------------------------

    def _parameters(self, draw: int) -> dict[str, Tensor]:
        return {name: draws[draw] for name, draws in self.scm.parameters.items()}

    def _all_parameters(self) -> dict[str, Tensor]:
        plates = (1,) * self.structure.plate_nesting
        return {
            name: draws.reshape(draws.shape[:1] + plates + draws.shape[1:])
            for name, draws in self.scm.parameters.items()
        }

    def _can_batch(self, blocks: "_Placed", size: int, values: Mapping[str, "_Setting"]) -> bool:
        """Whether all draws may go through one run: compare the first and last on their own."""
        if any(self.structure.sites[name].plates for name in self.scm.parameters):
            return False
        try:
            together = self._extract(blocks, size, values, self._all_parameters())
        except Exception:  # whatever a program says of a shape it does not expect
            return False
        for draw in (0, self.num_draws - 1):
            alone = self._extract(blocks, size, values, self._parameters(draw))
            for many, one in zip(together, alone, strict=True):
                here = many[draw if len(many) > 1 else 0]
                if not torch.allclose(here.double(), one[0].double(), 1e-4, 1e-6, equal_nan=True):
                    return False
        return True

    def _probe(self) -> dict[str, SiteLaw]:
        names = self.structure.unit_sites
        parameters = self._parameters(0) if self.scm.parameters else {}
        found = self._run(TRACE_UNITS, {}, names, parameters)
        return {name: self._site_law(name, *found[name]) for name in names}

    def _site_law(self, name: str, fn: Any, value: Tensor) -> SiteLaw:
        if self.structure.sites[name].kind == "deterministic":
            return SiteLaw(None, "it is deterministic", None, value, value)
        support = finite_support(fn)
        try:
            coupling = coupling_for(fn, self.scm.couplings.get(name))
        except ProgramError:
            coupling = None
        if isinstance(support, str):
            return SiteLaw(None, support, coupling, prototype(fn), value)
        return SiteLaw(support, "", coupling, prototype(fn), value)


class _Setting(NamedTuple):
    """What a site is set to.

    Attributes:
        values: Shape ``(size, *event)``.
        where: The units in which it is set, shape ``(size,)``; None for all. In the others a
            deterministic site is left to the program.
    """

    values: Tensor
    where: Tensor | None


class _SetAndRead(Messenger):
    """Set any sites, deterministic ones too, and keep the laws and values of some."""

    def __init__(self, settings: Mapping[str, _Setting], names: frozenset[str]) -> None:
        super().__init__()
        self._settings, self._names = settings, names
        self.found: dict[str, tuple[Any, Tensor]] = {}

    def _pyro_sample(self, msg: Any) -> None:
        name = msg["name"]
        if name not in self._settings:
            return
        values, where = self._settings[name]
        if _is_point(msg["fn"]):
            if msg["value"] is None:
                msg["value"] = msg["fn"].sample()
            if where is not None:
                values = torch.where(where, values, msg["value"])
        if name in self._names:
            # a deterministic site's own value, before it is set
            self.found[name] = (msg["fn"], msg["value"])
        msg.update(value=values, is_observed=True)

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] in self._names:
            self.found.setdefault(msg["name"], (msg["fn"], msg["value"]))


def _is_point(fn: Any) -> bool:
    return isinstance(unwrap(fn).base, dist.Delta)


_Placed: TypeAlias = list[tuple[int, Block]]
"""Blocks with the place of their first unit in a run."""


def _runs(blocks: Sequence[Block]) -> Iterator[tuple[int, list[tuple[int, int, int, int]]]]:
    """Pack blocks into runs: ``(size, [(block, place in the run, start, stop), ...])``.

    Blocks that set no site in common lie on the same units, so a long chain costs no more units
    than one of its sites. Large blocks are cut.
    """
    free: dict[str, int] = {}
    places = []
    for block in blocks:
        names = (*block.given, *block.computed)
        place = max((free.get(name, 0) for name in names), default=0)
        places.append(place)
        free.update(dict.fromkeys(names, place + block.size))
    ends = [place + block.size for place, block in zip(places, blocks, strict=True)]
    for begin in range(0, max(ends, default=0), _UNITS_PER_RUN):
        end = min(begin + _UNITS_PER_RUN, max(ends))
        run = [
            (i, max(place, begin) - begin, max(place, begin) - place, min(stop, end) - place)
            for i, (place, stop) in enumerate(zip(places, ends, strict=True))
            if place < end and stop > begin
        ]
        if run:
            yield end - begin, run


def _same_draws(parts: list[Tensor]) -> list[Tensor]:
    draws = max(len(part) for part in parts)
    return [part.expand(draws, *part.shape[1:]) for part in parts]


def _checked(block: Block, result: Tensor) -> Tensor:
    """Refuse a computed value that is not a number; laws may be void where nothing can happen."""
    if block.reads_law or not result.is_floating_point() or not bool(torch.isnan(result).any()):
        return result
    first = int(torch.isnan(result.reshape(*result.shape[:2], -1)).any(-1).any(0).nonzero()[0])
    raise ProgramError(
        f"the deterministic site {block.site!r} is not a number at {block.described(first)}; "
        "expected a value at every configuration of its parents; guard the formula, for example "
        "with torch.where or clamp"
    )
