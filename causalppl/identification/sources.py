"""What the data can be: observation and experiments, in the target population and in others."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from causalppl.exceptions import GraphError, QueryError
from causalppl.graphs import ADMG

__all__ = ["Domain", "Source", "Study", "list_sources"]


@dataclass(frozen=True)
class Domain:
    """Another population, and what was measured there.

    Attributes:
        name: Its name, shown in formulas.
        shifted: Variables whose mechanism or whose latent causes may differ from the target's: a
            selection node points at each of them.
        experiments: Sets of variables that were randomised there, each at all its values.
        observational: Whether the population was also merely observed.

    Raises:
        QueryError: The name is empty, or what should be names is not.

    References:
        Bareinboim and Pearl (2013), A general algorithm for deciding transportability.

    Example:
        >>> Domain("trial", shifted={"Age"}, experiments=[{"Drug"}], observational=False)
        Domain(name='trial', shifted=('Age',), experiments=(('Drug',),), observational=False)
    """

    name: str
    shifted: Iterable[str] = ()
    experiments: Iterable[Iterable[str]] = ()
    observational: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise QueryError(f"a domain is named {self.name!r}; expected a non-empty string")
        object.__setattr__(self, "shifted", _names(self.shifted))
        object.__setattr__(self, "experiments", tuple(_sets(self.experiments)))


@dataclass(frozen=True)
class Study:
    """What one study shows: the law of all variables, under one set of interventions.

    Attributes:
        do: The variables that it sets, each to all its values.
        domain: The population; None is the target.
        shifted: The variables whose mechanisms differ there from the target's.

    Example:
        >>> Study(do=("X",)).domain is None
        True
    """

    do: tuple[str, ...] = ()
    domain: str | None = None
    shifted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """One law that data can supply, ``P(all others | do)`` in one population; sets as bits.

    Attributes:
        domain: The population; None is the target.
        do: The variables that were randomised.
        shifted: The variables whose mechanisms differ from the target's.
    """

    domain: str | None = None
    do: int = 0
    shifted: int = 0

    def named(self, graph: ADMG) -> Study:
        """Write the sets as names."""
        names = graph.names_in_order
        return Study(names(self.do), self.domain, names(self.shifted))


def list_sources(
    graph: ADMG,
    experiments: Iterable[Iterable[str]] = (),
    domains: Iterable[Domain] = (),
    *,
    observational: bool = True,
) -> tuple[Source, ...]:
    """List the laws at hand, the target's first, small experiments before large ones.

    Raises:
        GraphError: An experiment or a shifted variable is not in the diagram.
        QueryError: Two domains share a name, or there is no data at all.
    """
    found = [Source()] if observational else []
    found += [Source(do=_mask(graph, do, "an experiment")) for do in _sets(experiments)]
    names: set[str] = set()
    if isinstance(domains, Domain) or not isinstance(domains, Iterable):
        raise QueryError(f"domains is {domains!r}; expected a list of Domain")
    for domain in domains:
        if not isinstance(domain, Domain):
            raise QueryError(f"a domain is {domain!r}; expected a Domain(name, shifted=...)")
        if domain.name in names:
            raise QueryError(f"two domains are called {domain.name!r}; give each its own name")
        names.add(domain.name)
        shifted = _mask(graph, domain.shifted, f"domain {domain.name!r}, shifted,")
        if domain.observational:
            found.append(Source(domain.name, 0, shifted))
        for do in domain.experiments:
            experiment = _mask(graph, do, f"an experiment of domain {domain.name!r}")
            found.append(Source(domain.name, experiment, shifted))
    if not found:
        raise QueryError("there is no data; allow observation, or name an experiment or a domain")
    unique = dict.fromkeys(found)
    return tuple(sorted(unique, key=lambda s: (s.domain is not None, s.do.bit_count())))


def _names(names: Iterable[str]) -> tuple[str, ...]:
    if not isinstance(names, Iterable) or isinstance(names, Mapping):
        raise QueryError(
            f"{names!r} was given where variables are named; expected a set of names, such as "
            "{'X'}: an experiment sets each at all its values"
        )
    return tuple(sorted({names} if isinstance(names, str) else set(names)))


def _sets(experiments: Iterable[Iterable[str]]) -> list[tuple[str, ...]]:
    if isinstance(experiments, str | Mapping) or not isinstance(experiments, Iterable):
        raise QueryError(
            f"experiments is {experiments!r}; expected a list of sets of variables, [{{'X'}}]"
        )
    return [_names(experiment) for experiment in experiments]


def _mask(graph: ADMG, names: Iterable[str], where: str) -> int:
    try:
        return graph.mask(names)
    except GraphError as error:
        raise GraphError(f"{where} names an {error}") from None
