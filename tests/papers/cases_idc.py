"""Identification of conditional interventional distributions from observations: IDC."""

from .case import Case

PEARL = "Pearl (2009), Causality, 2nd ed."
SP06C = "Shpitser and Pearl (2006), Identification of conditional interventional distributions"
SP08 = "Shpitser and Pearl (2008), Complete identification methods for the causal hierarchy"
NAPKIN = "W -> Z -> X -> Y; W <-> X; W <-> Y"
FRONT_DOOR = "X -> Z -> Y; X <-> Y"

CASES = (
    Case(
        name="shpitser_pearl_2008_fig6a",
        source=f"{SP08}, figure 6(a); {SP06C}, figure 1(a)",
        graph="X -> Z -> Y; X <-> Z",
        query="P(Y | do(X), Z)",
        identifiable=True,
        formula="P(Y | Z)",
        note="P(Y, Z | do(X)) is not identifiable",
    ),
    Case(
        name="shpitser_pearl_2008_fig6a_joint",
        source=f"{SP08}, figure 6(a)",
        graph="X -> Z -> Y; X <-> Z",
        query="P(Y, Z | do(X))",
        identifiable=False,
    ),
    Case(
        name="shpitser_pearl_2008_fig6b",
        source=f"After {SP08}, figure 6(b): one more latent cause, and rule 2 is lost",
        graph="X -> Z -> Y; X <-> Z; Z <-> Y",
        query="P(Y | do(X), Z)",
        identifiable=False,
    ),
    Case(
        name="front_door_given_the_mediator",
        source=f"After {SP06C}: the front door, given the mediator",
        graph=FRONT_DOOR,
        query="P(Y | do(X), Z)",
        identifiable=True,
        formula="sum_{X'} P(Y | X', Z) P(X')",
        note="not P(Y | Z)",
    ),
    Case(
        name="tikka_karvanen_2017_front_door_given_the_mediator",
        source="Tikka and Karvanen (2017), Identifying causal effects with the R package "
        "causaleffect: the conditional effect",
        graph="W -> {X, Z}; X -> Z -> Y; X <-> Y",
        query="P(Y | do(X), Z)",
        identifiable=True,
        formula="sum_{X'} P(Y | W, X', Z) P(X' | W)",
        note="W is pinned",
    ),
    Case(
        name="back_door_given_the_covariate",
        source=f"After {SP06C}: the covariate-specific effect ({PEARL}, section 4.2)",
        graph="Z -> X -> Y; Z -> Y; X <-> Z",
        query="P(Y | do(X), Z)",
        identifiable=True,
        formula="P(Y | X, Z)",
    ),
    Case(
        name="instrument_given_the_instrument",
        source=f"After {SP06C}: conditioning on an instrument does not identify",
        graph="Z -> X -> Y; X <-> Y",
        query="P(Y | do(X), Z)",
        identifiable=False,
    ),
    Case(
        name="napkin_given_the_root",
        source=f"After {SP06C}: in the napkin, the effect given W",
        graph=NAPKIN,
        query="P(Y | do(X), W)",
        identifiable=False,
        note="P(Y | do(X)) is identifiable",
    ),
    Case(
        name="g_formula_given_the_covariate",
        source=f"After {SP06C} and Robins (1986)",
        graph="A0 -> L -> A1 -> Y; A0 -> {A1, Y}; L <-> Y",
        query="P(Y | do(A0, A1), L)",
        identifiable=True,
        formula="P(Y | A0, A1, L)",
    ),
    Case(
        name="collider_given",
        source=f"After {SP06C}: conditioning on an effect of treatment and outcome",
        graph="X -> Y -> C; X -> C; X <-> C",
        query="P(Y | do(X), C)",
        identifiable=False,
        note="P(Y | do(X)) = P(Y | X)",
    ),
)
