"""Small real data sets that ship with the package; nothing is downloaded.

Sources and licences are in ``causalppl/data/csv/LICENCES.md``. Every loader reads its file anew and
returns a pandas frame of its own: integers as ``int64``, measurements as ``float64``, text as
pandas' default string type, NaN where a value is missing.
"""

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "available",
    "load_ihdp",
    "load_kidney_stones",
    "load_lalonde",
    "load_nhefs",
    "load_obd_women",
    "load_sachs",
    "load_sachs_edges",
    "load_ucb_admissions",
]


def available() -> list[str]:
    """List the shipped data sets; each ``name`` has a function ``load_<name>``.

    Example:
        >>> available()[:3]
        ['ihdp', 'kidney_stones', 'lalonde']
    """
    folder = files("causalppl.data") / "csv"
    return sorted(f.name.removesuffix(".csv") for f in folder.iterdir() if f.name.endswith(".csv"))


def load_nhefs() -> "pd.DataFrame":
    """Smoking cessation and weight gain: 1629 rows, 27 columns.

    ``qsmk`` is 1 for those who quit smoking between 1971 and 1982; the outcome ``wt82_71`` is the
    change of weight in kg (63 rows missing, 1566 complete). Confounders used in the book: ``sex``,
    ``race``, ``age``, ``education``, ``smokeintensity``, ``smokeyrs``, ``exercise``, ``active``,
    ``wt71``. ``float64``: ``wt*``, ``income``, ``sbp``, ``dbp``, ``cholesterol``, ``yrdth``,
    ``modth``, ``price*`` (all but ``wt71`` with gaps); the rest ``int64``.

    Returns:
        One row for each person, in the order of ``seqn``.

    References:
        Hernán and Robins (2020), Causal Inference: What If, chapters 12 to 16: the effect of
        quitting is 3.4 to 3.5 kg, against 2.5 kg without adjustment.

    Example:
        >>> means = load_nhefs().groupby("qsmk")["wt82_71"].mean()
        >>> round(float(means[1] - means[0]), 3)
        2.541
    """
    return _read("nhefs")


def load_lalonde() -> "pd.DataFrame":
    """Job training and earnings, experiment and survey controls: 18927 rows, 11 columns.

    ``sample`` (text) is ``nsw_treated`` (185 rows), ``nsw_control`` (260), ``cps`` (15992) or
    ``psid`` (2490); the outcome ``re78`` and the earlier earnings ``re74``, ``re75`` are dollars
    (``float64``); the rest is ``int64``. The experiment gives 1794 dollars; the survey controls
    overlap badly with the treated, so the estimand is the effect on the treated.

    Returns:
        One row for each person.

    References:
        LaLonde (1986), Evaluating the econometric evaluations of training programs; Dehejia and
        Wahba (1999), Causal effects in nonexperimental studies.

    Example:
        >>> means = load_lalonde().groupby("sample")["re78"].mean()
        >>> round(float(means["nsw_treated"] - means["nsw_control"]), 2)
        1794.34
    """
    return _read("lalonde")


def load_ucb_admissions() -> "pd.DataFrame":
    """Admissions to Berkeley by department and gender: 24 rows, 4 columns.

    ``dept`` (A to F), ``gender`` (Male, Female) and ``admit`` (Admitted, Rejected) are text,
    ``count`` is ``int64``. Simpson's paradox; the department mediates.

    Returns:
        One row for each cell of the table of counts.

    References:
        Bickel, Hammel and O'Connell (1975), Sex bias in graduate admissions.

    Example:
        >>> int(load_ucb_admissions()["count"].sum())
        4526
    """
    return _read("ucb_admissions")


def load_kidney_stones() -> "pd.DataFrame":
    """Success of two treatments by size of the stone: 8 rows, 4 columns.

    ``stone_size`` (small, large), ``treatment`` (open, pn) and ``success`` (yes, no) are text,
    ``count`` is ``int64``. Adjusted for the size, open surgery wins by 0.054; crude, it loses.

    Returns:
        One row for each cell of the table of counts.

    References:
        Charig et al. (1986), as in Peters, Janzing and Schölkopf (2017), Elements of Causal
        Inference, example 6.16.

    Example:
        >>> int(load_kidney_stones()["count"].sum())
        700
    """
    return _read("kidney_stones")


def load_sachs() -> "pd.DataFrame":
    """Eleven signalling molecules in single cells under nine conditions: 7466 rows, 14 columns.

    ``condition`` (the reagent), ``target`` (the measured molecule it acts on, missing where there
    is none) and ``kind`` (inhibit or activate) are text; the molecules are ``float64``, best taken
    as logarithms. The first 853 rows (``cd3cd28``) are the observational set.

    Returns:
        One row for each cell.

    References:
        Sachs et al. (2005), Causal protein-signaling networks derived from multiparameter
        single-cell data.

    Example:
        >>> int((load_sachs()["condition"] == "cd3cd28").sum())
        853
    """
    return _read("sachs")


def load_sachs_edges() -> "pd.DataFrame":
    """Reference networks for `load_sachs`: 22 rows, 4 columns.

    ``cause`` and ``effect`` are text; ``consensus17`` and ``cdt18`` (``int64``) are 1 where the
    edge is in the network of 17 edges, or in the list of 18. The two differ in membership and
    direction, so say which is used.

    Returns:
        One row for each directed edge.

    References:
        Sachs et al. (2005), figure 3.

    Example:
        >>> load_sachs_edges()[["consensus17", "cdt18"]].sum().tolist()
        [17, 18]
    """
    return _read("sachs_edges")


def load_ihdp() -> "pd.DataFrame":
    """Infant health programme with simulated outcomes: 747 rows (139 treated), 35 columns.

    Covariates are real; ``mu0_b<r>``, ``mu1_b<r>`` and ``y_b<r>`` (``float64``) are the two
    expected outcomes and the observed one in realisation r = 0, 1, 2 of response surface B, so
    individual effects are known. The effect on the treated is 4 in each. ``treat`` and all
    covariates are ``int64``, but ``b_head`` is ``float64``.

    Returns:
        One row for each child.

    References:
        Hill (2011), Bayesian nonparametric modeling for causal inference.

    Example:
        >>> data = load_ihdp()
        >>> round(float((data["mu1_b0"] - data["mu0_b0"])[data["treat"] == 1].mean()), 2)
        4.0
    """
    return _read("ihdp")


def load_obd_women() -> "pd.DataFrame":
    """Logged fashion recommendations of two policies: 20000 rows, 9 columns.

    ``policy`` (text) is ``random`` or ``bts`` (Bernoulli Thompson sampling), 10000 rows each;
    ``propensity`` (``float64``) is the logged probability of ``item_id`` at ``position``;
    ``click`` is the reward; ``u0`` to ``u3`` are coded features of the user (all ``int64``).

    Returns:
        One row for each recommendation.

    References:
        Saito et al. (2020), Open Bandit Dataset and Pipeline.

    Example:
        >>> load_obd_women().groupby("policy")["click"].mean().tolist()
        [0.0046, 0.0046]
    """
    return _read("obd_women")


def _read(name: str) -> "pd.DataFrame":
    import pandas as pd

    with (files("causalppl.data") / "csv" / f"{name}.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file)
