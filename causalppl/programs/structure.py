"""Read the causal structure of a Pyro program from one traced run of it."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import SubsampleMessenger
from pyro.poutine.util import site_is_subsample

from causalppl.exceptions import CausalPPLError, ProgramError
from causalppl.programs.provenance import ProvenanceMode, user_line
from causalppl.programs.shape_errors import failed_reading
from causalppl.programs.wrappers import is_wrapper, masks_of, unwrap
from causalppl.seeding import forked_rng
from causalppl.typing import Program

UNITS = "units"
"""The plate whose members are the units of the population."""

TRACE_UNITS = 7
"""Number of units in the traced run: a size that event dimensions seldom have."""


@dataclass(frozen=True)
class Site:
    """One ``pyro.sample`` or ``pyro.deterministic`` statement.

    Attributes:
        name: The site's name.
        kind: ``"sample"``; ``"deterministic"`` for ``pyro.deterministic`` and ``Delta`` sites.
        family: Name of the distribution's class, without wrappers.
        parents: Sites (parameters included) whose values enter the site's distribution.
        plates: Names of the vectorised plates around the site, outermost first.
        is_unit: Whether the site has one value per unit; otherwise it is a shared parameter.
        is_discrete: Whether the values are discrete.
        event_shape: Shape of one unit's value.
        dtype: Type of the values.
        is_observed: Whether the program itself gives the value (``obs=`` or ``pyro.condition``).
        line: ``file:line`` of the statement.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> site = read_structure(lambda: pyro.sample("X", dist.Normal(0.0, 1.0))).sites["X"]
        >>> site.family, site.kind, site.parents
        ('Normal', 'sample', ())
    """

    name: str
    kind: str
    family: str
    parents: tuple[str, ...]
    plates: tuple[str, ...]
    is_unit: bool
    is_discrete: bool
    event_shape: tuple[int, ...]
    dtype: torch.dtype
    is_observed: bool
    line: str

    @property
    def event_dim(self) -> int:
        """Number of event dimensions."""
        return len(self.event_shape)


@dataclass(frozen=True)
class Structure:
    """The sites of a program, in the order in which they run.

    Attributes:
        sites: Site name to `Site`.
        plate_nesting: Largest number of plate dimensions, counted from the right.
        units_dim: Batch dimension of the plate ``units`` (negative); None without that plate.
        learnable: Names of the ``pyro.param`` statements.
        subsamples: Whether the plate ``units`` takes a part of the units only.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> read_structure(lambda: pyro.sample("X", dist.Normal(0.0, 1.0))).unit_sites
        ('X',)
    """

    sites: Mapping[str, Site]
    plate_nesting: int
    units_dim: int | None
    learnable: tuple[str, ...] = ()
    subsamples: bool = False
    _descendants: dict[str, frozenset[str]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def unit_sites(self) -> tuple[str, ...]:
        """Names of the sites with one value per unit."""
        return tuple(name for name, site in self.sites.items() if site.is_unit)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the sites that all units share."""
        return tuple(name for name, site in self.sites.items() if not site.is_unit)

    def children(self, name: str) -> tuple[str, ...]:
        """Return the sites that have ``name`` among their parents."""
        return tuple(other for other, site in self.sites.items() if name in site.parents)

    def descendants(self, name: str) -> frozenset[str]:
        """Return all sites that ``name`` reaches, itself included."""
        if not self._descendants:
            reach: dict[str, set[str]] = {}
            for site in reversed(list(self.sites.values())):
                reach.setdefault(site.name, set()).add(site.name)
                for parent in site.parents:
                    reach.setdefault(parent, set()).update(reach[site.name])
            self._descendants.update({key: frozenset(value) for key, value in reach.items()})
        return self._descendants[name]

    def ancestors(self, names: frozenset[str] | set[str]) -> frozenset[str]:
        """Return all sites that reach one of ``names``, these included."""
        found = set(names)
        for site in reversed(list(self.sites.values())):
            if site.name in found:
                found.update(site.parents)
        return frozenset(found)


def read_structure(program: Program, *args: Any, **kwargs: Any) -> Structure:
    """Run ``program`` once under a guard and read sites and parents from the run.

    Args:
        program: A Pyro program.
        *args: Its arguments.
        **kwargs: Its keyword arguments.

    Returns:
        The structure. Sites outside the plate ``units`` are parameters; a program without that
        plate describes a single unit, and all its sites are unit sites.

    Raises:
        ProgramError: A site's value leaves the world of tensors (so that an edge would be lost),
            a site is masked by another site's value, or the program does not run.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def program():
        ...     z = pyro.sample("Z", dist.Normal(0.0, 1.0))
        ...     return pyro.sample("X", dist.Normal(2 * z, 1.0))
        >>> read_structure(program).sites["X"].parents
        ('Z',)
    """
    mode = ProvenanceMode()
    reader = _StructureReader(mode)
    with forked_rng(0), unchanged_params(), pyro.validation_enabled(False), torch.no_grad():
        try:
            # the reader is entered first, so that it is outermost and sees plates and masks
            with reader, mode:
                program(*args, **kwargs)
            if mode.escape is not None:  # the program caught it
                raise mode.escape
        except CausalPPLError:
            raise
        except Exception as error:
            raise reader.failed(error) from error
    return reader.structure()


class _StructureReader(Messenger):
    """Collect a `Site` from each message and mark its value as its own."""

    def __init__(self, mode: ProvenanceMode) -> None:
        super().__init__()
        self._mode = mode
        self._sites: dict[str, dict[str, Any]] = {}
        self._learnable: list[str] = []
        self._nesting = 0
        self._dims: dict[str, int] = {}
        self._subsamples = False

    def failed(self, error: Exception) -> ProgramError:
        return failed_reading(error, TRACE_UNITS, self._dims, self._sites)

    def structure(self) -> Structure:
        units_dim = self._dims.get(UNITS)
        order = list(self._sites)
        sites: dict[str, Site] = {}
        for name, found in self._sites.items():
            parents = tuple(p for p in order if p in found["parents"] and p != name)
            # a function of discrete values takes discrete values, whatever its dtype
            inherits = found["kind"] == "deterministic" and len(parents) > 0
            changes = {
                "is_unit": found["is_unit"] or units_dim is None,
                "parents": parents,
                "is_discrete": found["is_discrete"]
                or (inherits and all(sites[p].is_discrete for p in parents)),
            }
            sites[name] = Site(**{**found, **changes})
        return Structure(sites, self._nesting, units_dim, tuple(self._learnable), self._subsamples)

    def _pyro_post_param(self, msg: Any) -> None:
        self._learnable.append(msg["name"])

    def _pyro_post_sample(self, msg: Any) -> None:
        if site_is_subsample(msg):
            self._subsamples |= msg["name"] == UNITS and len(msg["value"]) < msg["fn"].size
            return
        name, fn = msg["name"], msg["fn"]
        if name in self._sites:
            raise ProgramError(
                f"{user_line()}: the name {name!r} is used by two sites; give each its own name"
            )
        if "@" in name.removesuffix("@natural"):
            raise ProgramError(
                f"{user_line()}: the site name {name!r} has an '@', which marks worlds; rename it"
            )
        base, masks = unwrap(fn).base, masks_of(fn)
        masked_by = self._mode.sites_of([msg["mask"], masks])
        if masked_by:
            raise ProgramError(
                f"{user_line()}: the site {name!r} is masked by the value of "
                f"{', '.join(sorted(masked_by))}; a mask changes the density but not the value, so "
                "the program has no graph; use torch.where on the parameters instead"
            )
        _check_generative(name, msg, base, masks)
        frames = [f for f in msg["cond_indep_stack"] if f.vectorized]
        self._nesting = max([self._nesting, *(-f.dim for f in frames)])
        self._dims.update({f.name: f.dim for f in frames})
        self._sites[name] = {
            "name": name,
            "kind": "deterministic" if is_delta(fn) else "sample",
            "family": type(base).__name__,
            "parents": self._parents(base, msg["value"]) - {name},
            "plates": tuple(f.name for f in sorted(frames, key=lambda f: f.dim)),
            "is_unit": any(f.name == UNITS for f in frames),
            "is_discrete": is_discrete(base, msg["value"]),
            "event_shape": self._event_shape(name, fn, msg["value"], frames),
            "dtype": msg["value"].dtype,
            "is_observed": bool(msg["is_observed"]) and not is_delta(fn),
            "line": user_line(),
        }
        # a fresh tensor: the statement's result is the site, the expression given to it is not
        with torch._C.DisableTorchFunction():
            msg["value"] = msg["value"].clone()
        self._mode.mark(msg["value"], frozenset({name}))

    def _event_shape(
        self, name: str, fn: Any, value: torch.Tensor, frames: list[Any]
    ) -> tuple[int, ...]:
        event_dim = fn.event_dim
        if event_dim == value.dim() > 0 and is_delta(fn) and frames:
            # pyro.deterministic without event_dim takes the whole value for one event
            event_dim = _event_dim_beside_plates(name, value, frames)
        return tuple(value.shape[value.dim() - event_dim :])

    def _parents(self, fn: Any, value: torch.Tensor) -> frozenset[str]:
        if isinstance(fn, dist.Delta):
            return self._mode.sites_of([fn.v, fn.log_density])
        with torch._C.DisableTorchFunction():
            value = value.detach().clone()
        try:
            return self._mode.sites_of(fn.log_prob(value))
        except NotImplementedError:
            return self._mode.sites_of(list(vars(fn).values()))


def _event_dim_beside_plates(name: str, value: torch.Tensor, frames: list[Any]) -> int:
    """Find the event dimensions of a deterministic value from where a plate's size stands in it."""
    frame = max(frames, key=lambda f: f.dim)  # the rightmost plate
    places = [i for i in range(-value.dim(), frame.dim + 1) if value.shape[i] == frame.size]
    if len(places) > 1:
        raise ProgramError(
            f"{user_line()}: cannot tell batch from event dimensions of the deterministic site "
            f"{name!r} of shape {tuple(value.shape)}; pass event_dim= to pyro.deterministic"
        )
    return frame.dim - places[0] if places else value.dim()


def _check_generative(name: str, msg: Any, base: Any, masks: list[Any]) -> None:
    """Refuse what changes the density of a site without changing how it comes about."""
    if isinstance(base, dist.Unit):
        raise ProgramError(
            f"{user_line()}: {name!r} is a pyro.factor, which weighs runs but generates nothing, "
            "so it has no place in a causal model; give evidence on a site instead"
        )
    if isinstance(base, dist.Delta):
        return
    masked = [m for m in (msg["mask"], *masks) if m is not None and m is not True]
    masked = [m for m in masked if not isinstance(m, torch.Tensor) or not bool(m.all())]
    subsampling = math.prod(f.full_size / f.size for f in msg["cond_indep_stack"] if f.full_size)
    if masked or not math.isclose(float(msg["scale"]), subsampling, rel_tol=1e-6):
        raise ProgramError(
            f"{user_line()}: the site {name!r} is masked or scaled, which changes its density but "
            "not its values, so the program would not generate what it weighs; leave the handler "
            "out (fit has batch_size= for minibatches)"
        )


def is_delta(fn: Any) -> bool:
    """Whether a distribution is a point mass, under any wrappers."""
    family = type(unwrap(fn).base if is_wrapper(type(fn)) else fn)
    return family is dist.Delta or dist.Delta in family.__mro__


def is_discrete(fn: Any, value: torch.Tensor) -> bool:
    """Whether a distribution (or, for Delta, the value) is discrete."""
    if isinstance(fn, dist.Delta):
        return not value.is_floating_point()
    support = fn.support
    return bool(getattr(support, "is_discrete", False))


@contextmanager
def whole_units() -> Iterator[None]:
    """Run programs that subsample the plate ``units`` on all units."""
    original = SubsampleMessenger._subsample

    def whole(name: str, size: Any = None, subsample_size: Any = None, *rest: Any) -> Any:
        if name == UNITS:
            return original(name, size)
        return original(name, size, subsample_size, *rest)

    SubsampleMessenger._subsample = staticmethod(whole)  # type: ignore
    try:
        yield
    finally:
        SubsampleMessenger._subsample = staticmethod(original)  # type: ignore


@contextmanager
def unchanged_params() -> Iterator[None]:
    """Drop the ``pyro.param`` entries that a block creates; leave the others as they are."""
    store = pyro.get_param_store()
    before = set(store.keys())
    try:
        yield
    finally:
        for name in set(store.keys()) - before:
            del store[name]


def takes_number(program: Program) -> bool:
    """Whether a program takes the number of units, so that it opens their plate itself."""
    return bool(_required(program))


def _required(program: Program) -> list[inspect.Parameter]:
    # a module is called with what its forward takes; its own signature is (*args, **kwargs)
    called = program.forward if isinstance(program, torch.nn.Module) else program
    return [
        p
        for p in inspect.signature(called).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]


def units_program(program: Program) -> Callable[[int], Any]:
    """Turn either form of program into a function of the number of units.

    Args:
        program: Without required argument: one unit, to be run inside a plate ``units``.
            With one required argument ``n``: opens ``pyro.plate("units", n)`` itself.

    Raises:
        ProgramError: The program takes two or more required arguments, or is not callable.
    """
    if not callable(program):
        raise ProgramError(f"expected a Pyro program (a callable), got {type(program).__name__}")
    required = _required(program)
    if len(required) > 1:
        raise ProgramError(
            f"the program requires {len(required)} arguments "
            f"({', '.join(p.name for p in required)}); expected none (one unit) or one (the "
            'number of units, used in pyro.plate("units", n)); bind the others with '
            "functools.partial"
        )
    if required:
        return program

    def plated(n: int) -> Any:
        with pyro.plate(UNITS, n):
            return program()

    return plated
