"""A structural causal model that is a Pyro program."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from numbers import Integral
from typing import TYPE_CHECKING, Any

import pyro
import torch
from pyro.poutine.messenger import Messenger

from causalppl.exceptions import DataError, HeuristicWarning, ProgramError
from causalppl.given import told
from causalppl.graphs import ADMG
from causalppl.programs.do import DoMessenger
from causalppl.programs.interventions import Interventions, check_interventions
from causalppl.programs.learned import Learned
from causalppl.programs.perturbation import check_by_perturbation
from causalppl.programs.structural import Coupling, coupling_for
from causalppl.programs.structure import (
    TRACE_UNITS,
    UNITS,
    Structure,
    read_structure,
    takes_number,
    unchanged_params,
    units_program,
    whole_units,
)
from causalppl.programs.targets import num_codes
from causalppl.seeding import forked_rng
from causalppl.spelling import closest
from causalppl.typing import Program, Values

if TYPE_CHECKING:
    from os import PathLike

    import pandas as pd


class SCM:
    """A structural causal model, read from a Pyro program.

    Args:
        program: A Pyro program. Without argument it describes one unit and is run inside a plate
            named ``units``. With one required argument ``n`` it opens
            ``pyro.plate("units", n)`` itself; sites outside that plate are parameters, shared by
            all units. Any other plate is a part of one unit.
        observed: Names of the sites with data; the other unit sites are latent. None: all.
        couplings: Site name to coupling, where it is not the family's default. Counterfactuals
            depend on it.
        categories: Site name to the names of its codes 0, 1, ..., so that evidence and
            interventions may be given by name.
        check: Double-check the structure by moving each site and seeing what else moves, and that
            no unit depends on another.

    Attributes:
        graph: The causal diagram over the observed sites (an `ADMG`, by latent projection).
        diagram: The diagram over all unit sites.
        structure: What was read from the program.

    Raises:
        ProgramError: The program loses a site's value (``.item()``, ``if x > 0``, numpy, ...),
            lets one unit depend on another, or lacks a name given here.

    Warns:
        HeuristicWarning: A program without argument stands in a plate of its own, whose members
            may be meant for the units.

    References:
        Pearl (2009), Causality, definition 7.1.1.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def program():
        ...     u = pyro.sample("U", dist.Normal(0.0, 1.0))
        ...     x = pyro.sample("X", dist.Normal(u, 1.0))
        ...     return pyro.sample("Y", dist.Normal(2 * x + u, 1.0))
        >>> print(SCM(program, observed=["X", "Y"]).graph)
        X -> Y; X <-> Y
    """

    def __init__(
        self,
        program: Program,
        *,
        observed: Sequence[str] | None = None,
        couplings: Mapping[str, Coupling] | None = None,
        categories: Mapping[str, Sequence[str]] | None = None,
        check: bool = True,
    ) -> None:
        self.source = program
        self.program = units_program(program)
        self.couplings = dict(couplings or {})
        self.parameters: dict[str, torch.Tensor] = {}
        self.learned: Learned | None = None
        self.fit_record: Any = None
        self.structure: Structure = read_structure(self.program, TRACE_UNITS)
        if self.structure.subsamples:
            self.program = _on_all_units(self.program)
            self.structure = read_structure(self.program, TRACE_UNITS)
        if self.structure.units_dim is None:
            raise ProgramError(
                "the program takes the number of units but opens no plate named 'units'; write "
                '`with pyro.plate("units", n):` around the statements of one unit'
            )
        _warn_of_own_plate(program, self.structure)
        unit_sites = self.structure.unit_sites
        self.observed: tuple[str, ...] = self._known(
            unit_sites if observed is None else observed, "observed"
        )
        self._known(self.couplings, "couplings")
        named = categories or {}
        self.categories = {name: tuple(named[name]) for name in self._known(named, "categories")}
        self._check_category_counts()
        self._can_broadcast: dict[Any, bool] = {}
        self._simulated_one_by_one = 0  # questions for which each draw took a run of its own
        if check:
            check_by_perturbation(self.program, self.structure, self.couplings)

    @property
    def latent(self) -> tuple[str, ...]:
        """Names of the unit sites without data."""
        return tuple(name for name in self.structure.unit_sites if name not in self.observed)

    @cached_property
    def diagram(self) -> ADMG:
        """The causal diagram over all unit sites, deterministic and latent ones included."""
        sites = self.structure.sites
        nodes = self.structure.unit_sites
        edges = [(p, name) for name in nodes for p in sites[name].parents if sites[p].is_unit]
        return ADMG(nodes, directed=edges)

    @cached_property
    def graph(self) -> ADMG:
        """The causal diagram over the observed sites."""
        return self.diagram.latent_projection(self.observed)

    def sample(self, num_units: int, *, seed: int | None = None) -> dict[str, torch.Tensor]:
        """Draw units from the model (parameters too: one draw, or their first posterior draw).

        Args:
            num_units: How many.
            seed: Seed of the draw.

        Returns:
            Value of each unit site, latent ones included, shape ``(num_units, *event)``.

        Raises:
            DataError: ``num_units`` is no whole number of at least 1.

        Example:
            >>> import pyro, pyro.distributions as dist
            >>> scm = SCM(lambda: pyro.sample("X", dist.Normal(0.0, 1.0)))
            >>> scm.sample(5, seed=0)["X"].shape
            torch.Size([5])
        """
        if isinstance(num_units, bool) or not isinstance(num_units, Integral) or num_units < 1:
            raise DataError(f"num_units is {told(num_units)}; expected a whole number, at least 1")
        given = {name: draws[0] for name, draws in self.parameters.items()}
        recorder = Recorder(self.structure.unit_sites)
        with forked_rng(seed), self.running(), torch.no_grad(), Given(given), recorder:
            self.program(num_units)
        return recorder.values

    def intervened(self, interventions: Interventions) -> "SCM":
        """Return the model under ``do``; its structure is read anew.

        Args:
            interventions: As for `do`; category names are allowed where ``categories`` says so.

        Raises:
            DataError: A text value for a site without categories, or not one of them; or
                ``interventions`` is no mapping, such as text.
            ProgramError: There is no such site, or a policy asks for one that runs later.
        """
        check_interventions(interventions)
        encoded = self.encode(interventions)
        program = self.program

        def changed(n: int) -> Any:
            with DoMessenger(encoded):
                return program(n)

        return self._derived(changed)

    def with_parameters(
        self, draws: Values, *, learned: Learned | None = None, record: Any = None
    ) -> "SCM":
        """Return the model with draws of its parameters, for example from a posterior.

        Args:
            draws: Parameter name to draws, shape ``(draws, *event)``; the same number for each.
                Where there is one draw, a number will do for a parameter that is one.
            learned: Values of ``pyro.param`` statements.
            record: How the draws came about, kept as ``fit_record``.

        Raises:
            DataError: A name is not a parameter, a parameter is missing, a number of draws
                differs, or a value is NaN.
        """
        unknown = [name for name in draws if name not in self.structure.parameters]
        missing = [
            name
            for name in self.structure.parameters
            if name not in draws
            and self.structure.sites[name].kind == "sample"
            and not self.structure.sites[name].is_observed
        ]
        if unknown or missing:
            raise DataError(
                f"draws lack {missing} and have unknown {unknown}; the program's parameters are "
                f"{list(self.structure.parameters)}"
            )
        draws = {name: torch.as_tensor(value) for name, value in draws.items()}
        if all(len(value) == 1 for value in draws.values() if value.dim()):
            draws = {name: self._one_draw(name, value) for name, value in draws.items()}
        for name, value in draws.items():
            self._check_parameter(name, value)
        sizes = {name: len(value) for name, value in draws.items()}
        if len(set(sizes.values())) > 1:
            raise DataError(f"parameters have different numbers of draws: {sizes}")
        for name, value in draws.items():
            if value.is_floating_point() and bool(torch.isnan(value).any()):
                raise DataError(f"the draws of parameter {name!r} hold NaN; check the fit")
        other = self._copy()
        other.parameters = {name: torch.as_tensor(value) for name, value in draws.items()}
        other.learned = learned if learned is not None else self.learned
        other.fit_record = record
        return other

    def _one_draw(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """Give a plain number its axis of draws, where the parameter is a number."""
        is_number = not value.dim() and not self.structure.sites[name].event_shape
        return value[None] if is_number else value

    def _check_parameter(self, name: str, value: torch.Tensor) -> None:
        recorder = Recorder((name,), laws=True)
        with forked_rng(0), unchanged_params(), torch.no_grad(), recorder:
            self.program(1)
        law = recorder.values[name]
        expected = tuple(law.shape())
        if value.dim() == 0 or (tuple(value.shape[1:]) != expected):
            raise DataError(
                f"the draws of parameter {name!r} have shape {tuple(value.shape)}; expected "
                f"{('draws', *expected)}"
            )
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise DataError(f"the draws of parameter {name!r} hold NaN or infinity; check the fit")
        site = self.structure.sites[name]
        if not site.parents and site.kind == "sample":
            possible = law.support.check(value)
            if not bool(possible.all()):
                raise DataError(
                    f"draws of parameter {name!r} lie outside its support under {site.family}; "
                    "check their sign and scale"
                )

    def encode(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Replace category names by their codes, by the site's ``categories``.

        Raises:
            DataError: A text value for a site without categories, or not one of them.
        """
        return {key: self._encoded(key, value) for key, value in values.items()}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Give a block the model's learned parameters, and leave no trace in the global store."""
        with unchanged_params() if self.learned is None else self.learned.installed():
            yield

    def coupling(self, name: str) -> Coupling:
        """Return the coupling of a sample site: how its noise is shared between worlds.

        Raises:
            ProgramError: The site's family has none.
        """
        recorder = Recorder((name,), laws=True)
        with forked_rng(0), self.running(), torch.no_grad(), recorder:
            self.program(TRACE_UNITS)
        return coupling_for(recorder.values[name], self.couplings.get(name))

    @cached_property
    def laws(self) -> dict[str, Any]:
        """Law of each sample site of a unit, in one traced run of a few units."""
        names = [n for n in self.structure.unit_sites if self.structure.sites[n].kind == "sample"]
        recorder = Recorder(names, laws=True)
        with forked_rng(0), self.running(), torch.no_grad(), pyro.validation_enabled(False):
            with recorder:
                self.program(TRACE_UNITS)
        return recorder.values

    @cached_property
    def coupling_names(self) -> dict[str, str]:
        """Name of the coupling of each sample site of a unit; ``"none"`` where it has none."""
        found = {}
        for name, law in self.laws.items():
            try:
                found[name] = coupling_for(law, self.couplings.get(name)).name
            except ProgramError:
                found[name] = "none"
        return found

    def to_frame(self) -> "pd.DataFrame":
        """Return a table of the sites: kind, family, parents, role, coupling."""
        import pandas as pd

        names = self.coupling_names
        rows = [
            {
                "site": site.name,
                "role": "parameter"
                if not site.is_unit
                else "observed"
                if site.name in self.observed
                else "latent",
                "family": site.family if site.kind == "sample" else "deterministic",
                "parents": ", ".join(site.parents),
                "coupling": names.get(site.name, "-"),
            }
            for site in self.structure.sites.values()
        ]
        return pd.DataFrame(rows).set_index("site")

    def fit(self, data: Any, **options: Any) -> "SCM":
        """Infer the parameters from data; see `causalppl.fit` for the options.

        Returns:
            A new model with draws from the posterior of its parameters.
        """
        from causalppl.inference.fit import fit

        return fit(self, data, **options)

    def save(self, path: "str | PathLike[str]", *, with_data: bool = True) -> None:
        """Write what a fit has learned to a file, which `load` reads without executing it.

        The file holds the draws of the parameters, the values of ``pyro.param`` statements, how
        they were fitted, and how the program behaves; not the program, which is source code.

        Args:
            path: The file.
            with_data: Whether to keep the rows that were fitted to, by which `infer` knows such a
                row again; without them it takes each row as a new unit.

        Raises:
            DataError: The model was not fitted, or the file cannot be written.

        Example:
            >>> import pathlib, pyro, pyro.distributions as dist, tempfile, torch
            >>> def program(n):
            ...     mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
            ...     with pyro.plate("units", n):
            ...         return pyro.sample("Y", dist.Normal(mean, 1.0))
            >>> model = SCM(program).with_parameters({"mean": torch.tensor([0.1, 0.2])})
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     model.save(pathlib.Path(folder, "model.pt"))
            ...     SCM.load(pathlib.Path(folder, "model.pt"), program).parameters["mean"]
            tensor([0.1000, 0.2000])
        """
        from causalppl.inference.model_files import write_model

        write_model(self, path, with_data=with_data)

    @classmethod
    def load(
        cls,
        path: "str | PathLike[str]",
        program: "Program | SCM",
        *,
        device: "torch.device | str | None" = None,
    ) -> "SCM":
        """Read a model that `save` wrote: it answers as the one that was saved.

        Args:
            path: The file.
            program: The program that was fitted; or a model of it, where its couplings are of
                types of your own.
            device: Where the tensors go; None: where they were.

        Raises:
            DataError: There is no such file, or it is none of `save`, of another version, or
                damaged.
            ProgramError: It was written for a program with other sites, shapes, couplings or
                behaviour; the message names the first.
        """
        from causalppl.inference.model_files import read_model

        return read_model(path, program, device=device)

    def _encoded(self, key: str, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        name = key.split("@")[0]
        if name not in self.categories:
            raise DataError(
                f"{key!r} is given as the text {value!r}, but the site has no categories; give its "
                "code, or declare SCM(..., categories={" + repr(name) + ": [...]})"
            )
        known = self.categories[name]
        if value not in known:
            raise DataError(
                f"{value!r} is not a category of {name!r}; it has {', '.join(known)}"
                f"{closest(value, known)}"
            )
        return known.index(value)

    def _check_category_counts(self) -> None:
        for name, names in self.categories.items():
            codes = num_codes(self.laws[name]) if name in self.laws else None
            if codes not in (None, len(names)):
                raise ProgramError(
                    f"categories names {len(names)} of {name!r} ({', '.join(map(str, names))}), "
                    f"which has {codes}; name all of them, in the order of the codes 0, 1, ..."
                )

    def _known(self, names: Any, argument: str) -> tuple[str, ...]:
        if isinstance(names, str):
            raise ProgramError(f"{argument} is the text {names!r}; expected a sequence of names")
        unit_sites = self.structure.unit_sites
        for name in names:
            if name not in unit_sites:
                raise ProgramError(
                    f"{argument} names {name!r}, which is not a unit site of the program; it has "
                    f"{', '.join(unit_sites)}{closest(name, unit_sites)}; check the spelling, or "
                    f"whether the statement stands inside the plate {UNITS!r}"
                )
        return tuple(name for name in unit_sites if name in set(names))

    def _copy(self) -> "SCM":
        other = object.__new__(SCM)
        other.__dict__.update(self.__dict__)
        other._can_broadcast = {}
        return other

    def _derived(self, program: Program) -> "SCM":
        other = SCM(
            program,
            observed=self.observed,
            couplings=self.couplings,
            categories=self.categories,
            check=False,
        )
        other.parameters, other.learned = self.parameters, self.learned
        other.fit_record = self.fit_record
        return other

    if not TYPE_CHECKING:  # type checkers are to see that there is no such attribute

        def __getattr__(self, name: str) -> Any:
            """Say what to write in place of ``scm.do(X=1)``; called for what is not there."""
            if name == "do":
                raise AttributeError(
                    "an SCM has no 'do'; expected scm.intervened({'X': 1}), the model under do, or "
                    "infer(scm, 'P(Y | do(X=1))'), an answer; do(program, {'X': 1}) takes a program"
                )
            return object.__getattribute__(self, name)

    def __repr__(self) -> str:
        draws = max((len(value) for value in self.parameters.values()), default=0)
        fitted = f", {draws} posterior draws" if draws else ""
        latent = f", latent {', '.join(self.latent)}" if self.latent else ""
        return f"SCM({self.graph}{latent}{fitted})"

    def _repr_html_(self) -> str:
        picture = self.graph._repr_svg_()
        return f"<div>{picture}{self.to_frame().to_html()}</div>"


def _warn_of_own_plate(program: Program, structure: Structure) -> None:
    """Say so where a program of one unit stands in a plate that may be meant for the units."""
    around = [set(site.plates) - {UNITS} for site in structure.sites.values()]
    shared = set.intersection(*around) if around else set()
    if not shared or takes_number(program):
        return
    warnings.warn(
        f"all sites stand in the plate {min(shared)!r}, which is part of one unit, so that each "
        "variable has as many values as the plate has members; if these are the units, leave the "
        "plate out, or write the program as a function of n with "
        'pyro.plate("units", n)',
        HeuristicWarning,
        stacklevel=3,
    )


def _on_all_units(program: Callable[[int], Any]) -> Callable[[int], Any]:
    def whole(n: int) -> Any:
        with whole_units():
            return program(n)

    return whole


class Given(Messenger):
    """Set sites to values, as observed; unlike evidence this is not meant for densities."""

    def __init__(self, values: Values) -> None:
        super().__init__()
        self._given = values

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self._given:
            msg.update(value=self._given[msg["name"]], is_observed=True)


class Recorder(Messenger):
    """Keep the values (or the laws) of some sites."""

    def __init__(self, names: Sequence[str], *, laws: bool = False) -> None:
        super().__init__()
        self._names, self._laws = frozenset(names), laws
        self.values: dict[str, Any] = {}

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] in self._names:
            self.values[msg["name"]] = msg["fn"] if self._laws else msg["value"]
