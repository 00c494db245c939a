"""Finite causal models on a diagram, with the exact truth of every query about them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import pyro
import pyro.distributions as dist
import torch

from causalppl.data.factor import Factor
from causalppl.exceptions import DataError, QueryError
from causalppl.graphs import ADMG
from causalppl.programs.coupling_discrete import Quantile
from causalppl.programs.finite_files import read_finite_model, write_finite_model
from causalppl.programs.finite_worlds import Answer, Array, Operand, contract, exact_answer
from causalppl.programs.scm import SCM
from causalppl.queries import Contrast, Query, parse_query
from causalppl.seeding import checked_seed

__all__ = ["FiniteModel", "Latent", "random_finite_model"]

Policy: TypeAlias = tuple[tuple[str, ...], Any]
"""What a policy looks at, and its table: one axis for each of these, and a last one of states."""

_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Latent:
    """A latent cause with finitely many states.

    Attributes:
        children: The variables that it acts on: two for a bidirected edge, one for private noise.
        prior: Its law, shape ``(states,)``.
    """

    children: tuple[str, ...]
    prior: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "children", tuple(self.children))
        object.__setattr__(self, "prior", _law(self.prior, f"a latent of {self.children}"))


@dataclass(frozen=True, eq=False)
class FiniteModel:
    """A structural causal model with finitely many states, given by tables.

    Each variable is ``v = f(parents, latents, noise)``: its table holds
    ``P(v | parents, latents)``, and ``v`` is the first state whose cumulative probability reaches
    a private uniform noise (the quantile coupling). Latents that act on one variable alone make
    its response to the parents as general as one likes. All answers are exact.

    Attributes:
        graph: The diagram.
        tables: Variable to its table, shape ``(*parents, *latents, states)``: parents in the
            order of the graph, latents in that of ``latents``. States are ``0, 1, ...``.
        latents: Name to latent. Two variables share a latent where the diagram has ``<->`` and
            only there.

    Raises:
        DataError: A table is missing, has the wrong shape, or has a row that is not a law; the
            latents do not fit the bidirected edges.

    References:
        Pearl (2009), Causality, section 7.1; Shpitser and Pearl (2008), section 2.

    Example:
        >>> bow = FiniteModel(
        ...     ADMG.parse("X -> Y; X <-> Y"),
        ...     {"X": [[0.9, 0.1], [0.2, 0.8]], "Y": [[[0.9, 0.1], [0.5, 0.5]]] * 2},
        ...     {"U": Latent(("X", "Y"), [0.5, 0.5])},
        ... )
        >>> round(bow.probability("P(Y=1 | do(X=1))"), 4), round(bow.probability("P(Y=1 | X=1)"), 4)
        (0.3, 0.4556)
    """

    graph: ADMG
    tables: Mapping[str, Array]
    latents: Mapping[str, Latent] = field(default_factory=dict)

    def __post_init__(self) -> None:
        latents = MappingProxyType(dict(self.latents))
        object.__setattr__(self, "latents", latents)
        if sorted(self.tables) != sorted(self.graph.nodes):
            raise DataError(
                f"there are tables of {', '.join(sorted(self.tables))}; expected one for each node "
                f"of {self.graph}"
            )
        tables = {name: _law(self.tables[name], name) for name in self.graph.nodes}
        object.__setattr__(self, "tables", MappingProxyType(tables))
        _check_latents(self.graph, latents)
        for name, table in tables.items():
            shape = tuple(tables[p].shape[-1] for p in self._parents[name])
            shape += tuple(len(latents[u].prior) for u in self.latents_of(name))
            if table.shape[:-1] != shape:
                raise DataError(
                    f"the table of {name} has shape {table.shape}; expected {(*shape, 'states')}, "
                    f"the parents {self._parents[name]} and the latents {self.latents_of(name)}"
                )

    @cached_property
    def states(self) -> Mapping[str, int]:
        """Variable to its number of states."""
        return {name: table.shape[-1] for name, table in self.tables.items()}

    @cached_property
    def _parents(self) -> dict[str, tuple[str, ...]]:
        return {name: self.graph.in_order(self.graph.parents(name)) for name in self.graph.nodes}

    def latents_of(self, name: str) -> tuple[str, ...]:
        """Name the latents that act on a variable, in the order of its table."""
        return tuple(u for u, latent in self.latents.items() if name in latent.children)

    def law(
        self,
        do: Mapping[str, int | None] | None = None,
        *,
        policies: Mapping[str, Policy] | None = None,
    ) -> Factor:
        """Compute the joint law of all variables, under interventions.

        Args:
            do: Variable to the state that it is set to; None leaves that open: the entry at
                ``(x, v)`` is then the probability of ``v`` under ``do(X=x)``, for each ``x``.
            policies: Variable to what its policy looks at and the policy's table: a soft
                intervention, in which the variable is drawn from the row that it sees.

        Returns:
            A factor over all nodes, in the graph's order.

        Raises:
            QueryError: An unknown variable or state, or one that is set twice.
            DataError: A policy's table does not fit.
            GraphError: The policies make a cycle.

        Example:
            >>> model = random_finite_model(ADMG.parse("X -> Y"), seed=0)
            >>> model.law({"X": 1}).probability({"X": 1}).item()
            1.0
        """
        replaced: dict[str, Operand] = {}
        place = {name: i for i, name in enumerate(self.graph.nodes)}
        for name, code in (do or {}).items():
            self._check_state(name, code)
            count = self.states[name]
            row = np.ones(count) if code is None else np.eye(count)[code]
            replaced[name] = (row, (place[name],))
        for name, (seen, table) in self._checked_policies(policies or {}, replaced).items():
            replaced[name] = (table, (*map(place.__getitem__, seen), place[name]))
        operands = [replaced.get(name) or self.mechanism(name) for name in self.graph.nodes]
        operands += [(u.prior, (len(place) + i,)) for i, u in enumerate(self.latents.values())]
        values = contract(operands, range(len(place)))
        return Factor(self.graph.nodes, torch.from_numpy(np.ascontiguousarray(values)))

    def mechanism(self, name: str) -> Operand:
        """Return a variable's table and its axes: node ``i`` is axis ``i``, latents come after."""
        nodes, latents = self.graph.nodes, list(self.latents)
        parents = [nodes.index(parent) for parent in self._parents[name]]
        hidden = [len(nodes) + latents.index(u) for u in self.latents_of(name)]
        return self.tables[name], (*parents, *hidden, nodes.index(name))

    def probability(self, query: str | Query | Contrast) -> float:
        """Compute the truth of a query without open values: a probability or an expectation.

        Raises:
            QueryError: A value is left open, or a variable or value is unknown.
            ImpossibleEvidenceError: What is given has probability zero.

        Example:
            >>> model = random_finite_model(ADMG.parse("X -> Y; X <-> Y"), seed=0)
            >>> 0 < model.probability("P(Y_{X=0}=1 | X=1, Y=1)") < 1
            True
        """
        answer = self.answer(query)
        if answer.names:
            raise QueryError(
                f"{query} leaves {', '.join(answer.names)} open; expected values for all terms; "
                "give them, or use table() for all values at once"
            )
        return float(answer.values)

    def table(self, query: str | Query | Contrast) -> Factor:
        """Compute the truth of a query for all values of its open terms.

        Args:
            query: For example ``"P(Y | do(X), Z=1)"``.

        Returns:
            A factor over the open terms: outcomes, then conditions, then interventions. An axis
            is named after its variable; where a variable has several, after its term (``Y_{X}``)
            or, for an intervention, ``do(X)``. An open intervention is the same in all worlds.

        Raises:
            QueryError: A variable or value is unknown.
            ImpossibleEvidenceError: What is given has probability zero.

        Example:
            >>> model = random_finite_model(ADMG.parse("X -> Y; X <-> Y"), seed=0)
            >>> model.table("P(Y_{X} | X)")
            Factor(Y: 2, X: 2, do(X): 2)
        """
        answer = self.answer(query)
        return Factor(answer.names, torch.from_numpy(answer.values.copy()))

    def answer(self, query: str | Query | Contrast) -> Answer:
        """Compute what `table` does, as an array; expectations may be negative."""
        parsed = parse_query(query) if isinstance(query, str) else query
        if isinstance(parsed, Query):
            return exact_answer(self, parsed)
        parts = parsed.expand(self._mediators(parsed))
        answers = [(weight, exact_answer(self, part)) for weight, part in parts]
        values = sum(weight * answer.values for weight, answer in answers)
        return Answer(answers[0][1].names, np.asarray(values))

    def scm(self) -> SCM:
        """Write the model as a Pyro program.

        Returns:
            A model whose graph is ``graph`` and whose sites are those of the nodes and latents,
            all ``Categorical`` and quantile-coupled.

        Example:
            >>> model = random_finite_model(ADMG.parse("X -> Y; X <-> Y"), seed=0)
            >>> model.scm().graph == model.graph
            True
        """
        priors = {name: torch.tensor(latent.prior) for name, latent in self.latents.items()}
        tables = {name: torch.tensor(table) for name, table in self.tables.items()}
        order = self.graph.topological_order()
        causes = {name: (*self._parents[name], *self.latents_of(name)) for name in order}

        def program() -> None:
            values = {u: pyro.sample(u, dist.Categorical(prior)) for u, prior in priors.items()}
            for name in order:
                row = tuple(values[cause].long() for cause in causes[name])
                probabilities = tables[name][row] if row else tables[name]
                values[name] = pyro.sample(name, dist.Categorical(probabilities))

        couplings = {name: Quantile() for name in (*priors, *order)}
        # the tables say what depends on what, so there is nothing to double-check
        return SCM(program, observed=self.graph.nodes, couplings=couplings, check=False)

    def save(self, path: "str | PathLike[str]") -> None:
        """Write the model to a NumPy archive, which `load` reads; every digit is kept.

        Raises:
            DataError: The file cannot be written.

        Example:
            >>> import pathlib, tempfile
            >>> model = random_finite_model(ADMG.parse("X -> Y; X <-> Y"), seed=0)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     model.save(pathlib.Path(folder, "model.npz"))
            ...     again = FiniteModel.load(pathlib.Path(folder, "model.npz"))
            >>> again.probability("P(Y_{X=0}=1 | X=1)") == model.probability("P(Y_{X=0}=1 | X=1)")
            True
        """
        write_finite_model(self, path)

    @classmethod
    def load(cls, path: "str | PathLike[str]") -> "FiniteModel":
        """Read a model that `save` wrote.

        Raises:
            DataError: There is no such file, or it is none of `save`, or of another version.
        """
        graph, tables, latents = read_finite_model(path)
        return cls(graph, tables, {name: Latent(*about) for name, about in latents.items()})

    def shifted(
        self, variables: Iterable[str], *, seed: int | None, concentration: float = 1.0
    ) -> "FiniteModel":
        """Return the same model in another domain, where some mechanisms are others.

        Args:
            variables: Those that a selection node points at: their tables, and the laws of
                latents that act on them only, are drawn anew.
            seed: Seed of the draw.
            concentration: As for `random_finite_model`.

        References:
            Bareinboim and Pearl (2014), Transportability from multiple environments.

        Example:
            >>> model = random_finite_model(ADMG.parse("X -> Y"), seed=0)
            >>> other = model.shifted(["X"], seed=1)
            >>> bool((other.tables["Y"] == model.tables["Y"]).all())
            True
        """
        changed = frozenset(variables)
        self.graph.mask(changed)
        rng = np.random.default_rng(checked_seed(seed))
        tables = {
            name: random_law(rng, table.shape, concentration) if name in changed else table
            for name, table in self.tables.items()
        }
        latents = {
            name: Latent(u.children, random_law(rng, u.prior.shape, concentration))
            if changed.issuperset(u.children)
            else u
            for name, u in self.latents.items()
        }
        return FiniteModel(self.graph, tables, latents)

    def _mediators(self, contrast: Contrast) -> tuple[str, ...]:
        if contrast.kind not in ("NDE", "NIE") or contrast.mediators:
            return ()
        reached = self.graph.children(contrast.treatment) & self.graph.ancestors(contrast.outcome)
        return self.graph.in_order(reached - {contrast.outcome})

    def _check_state(self, name: str, code: int | None) -> None:
        self.graph.mask((name,))
        is_code = isinstance(code, int) and not isinstance(code, bool)
        if code is not None and not (is_code and code in range(self.states[name])):
            raise QueryError(
                f"{name} is set to {code!r}; expected one of its states, 0 to "
                f"{self.states[name] - 1}, or None for all"
            )

    def _checked_policies(
        self, policies: Mapping[str, Policy], replaced: Mapping[str, Operand]
    ) -> dict[str, tuple[tuple[str, ...], Array]]:
        checked = {}
        cut = self.graph.remove_incoming((*policies, *replaced))
        added = [(s, name) for name, (seen, _) in policies.items() for s in seen]
        ADMG(cut.nodes, [*cut.directed_edges, *added])  # raises on a cycle
        for name, (seen, given) in policies.items():
            table = _law(given, f"the policy of {name}")
            expected = tuple(self.states[other] for other in (*seen, name))
            if name in replaced or table.shape != expected:
                raise DataError(
                    f"the policy of {name} has shape {table.shape}; expected {expected} for what "
                    f"it sees, {tuple(seen)}, and no other intervention on {name}"
                )
            checked[name] = (tuple(seen), table)
        return checked


def random_finite_model(
    graph: ADMG,
    *,
    states: int | Mapping[str, int] = 2,
    latent_states: int = 2,
    noise_states: int = 2,
    seed: int | None,
    concentration: float = 1.0,
) -> FiniteModel:
    """Draw a finite model on a diagram; no probability in it is below 0.1 by its table's states.

    Args:
        graph: The diagram.
        states: Number of states of each variable, or of all.
        latent_states: Number of states of the latent of each bidirected edge.
        noise_states: Number of states of a private latent of each variable, without which
            responses are monotone (1: none). Without it, formulas that hold under monotonicity
            only would look right.
        seed: Seed of the draw.
        concentration: Of the Dirichlet laws of the rows; small makes them extreme.

    Returns:
        A model whose latents are named ``U_A_B`` for ``A <-> B`` and ``U_A`` for private ones.

    Example:
        >>> model = random_finite_model(ADMG.parse("X -> Y; X <-> Y"), seed=0)
        >>> sorted(model.latents), model.tables["Y"].shape
        (['U_X', 'U_X_Y', 'U_Y'], (2, 2, 2, 2))
    """
    sizes = dict.fromkeys(graph.nodes, states) if isinstance(states, int) else dict(states)
    counts = {
        **{f"states of {n}": sizes.get(n) for n in graph.nodes},
        "latent_states": latent_states,
    }
    for what, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise DataError(f"{what} is {count!r}; expected a whole number from 1 up")
    if not concentration > 0:
        raise DataError(f"concentration is {concentration!r}; expected a positive number")
    rng = np.random.default_rng(checked_seed(seed))
    latents = {
        name: Latent(children, random_law(rng, (count,), concentration))
        for name, (children, count) in latent_names(graph, latent_states, noise_states).items()
    }
    tables = {}
    for name in graph.nodes:
        shape = [sizes[parent] for parent in graph.in_order(graph.parents(name))]
        shape += [len(u.prior) for u in latents.values() if name in u.children]
        tables[name] = random_law(rng, (*shape, sizes[name]), concentration)
    return FiniteModel(graph, tables, latents)


def latent_names(
    graph: ADMG, latent_states: int, noise_states: int
) -> dict[str, tuple[tuple[str, ...], int]]:
    """Name a latent for each bidirected edge, and a private one for each node if asked for.

    Returns:
        Name to children and number of states.
    """
    found: dict[str, tuple[tuple[str, ...], int]] = {}
    groups: list[tuple[tuple[str, ...], int]] = [
        (edge, latent_states) for edge in graph.bidirected_edges
    ]
    if noise_states > 1:
        groups += [((node,), noise_states) for node in graph.nodes]
    for children, count in groups:
        name = "_".join(("U", *children))
        while name in graph or name in found:
            name += "_"
        found[name] = (children, count)
    return found


def random_law(rng: np.random.Generator, shape: tuple[int, ...], concentration: float) -> Array:
    """Draw a table of laws over its last axis, mixed with a tenth of the uniform law."""
    rows = rng.dirichlet([concentration] * shape[-1], shape[:-1])
    return np.asarray(0.9 * rows + 0.1 / shape[-1])


def _law(table: Any, name: str) -> Array:
    """Copy a table, check that its rows are laws, and lock it."""
    array = np.array(table, dtype=float)
    is_law = array.ndim and bool((array >= 0).all())
    if not is_law or np.abs(array.sum(-1) - 1).max() > _ROUNDING:
        raise DataError(
            f"the table of {name} has a row that is not a law; expected non-negative numbers that "
            "sum to one along the last axis"
        )
    array.flags.writeable = False
    return array


def _check_latents(graph: ADMG, latents: Mapping[str, Latent]) -> None:
    joined = {
        frozenset((a, b)) for u in latents.values() for a in u.children for b in u.children if a < b
    }
    edges = set(map(frozenset, graph.bidirected_edges))
    clash = sorted(set(latents) & set(graph.nodes))
    if joined != edges or clash:
        wrong = sorted("<->".join(sorted(pair)) for pair in joined ^ edges)
        raise DataError(
            f"the latents {', '.join(latents)} do not fit the diagram {graph}: "
            f"{', '.join(wrong + clash)}; expected a shared latent for each bidirected edge, for "
            "no other pair, and names that no node has"
        )
