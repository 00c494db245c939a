"""Transport between populations: selection diagrams, several sources, limited experiments."""

from .case import Case, SourceDomain, names, sets

PB14 = "Pearl and Bareinboim (2014), External validity: from do-calculus to transportability"
BP12 = "Bareinboim and Pearl (2012), Transportability of causal effects: completeness results"
BP13M = "Bareinboim and Pearl (2013), Meta-transportability of causal effects"
BP13G = "Bareinboim and Pearl (2013), A general algorithm for deciding transportability"
BP13Z = "Bareinboim and Pearl (2013), Causal transportability with limited experiments"
BP14 = "Bareinboim and Pearl (2014), Transportability from multiple environments with limited"
BP14 += " experiments"
LEE20 = "Lee, Correa and Bareinboim (2020), General transportability: synthesizing observations"
LEE20 += " and experiments from heterogeneous domains"
TK19 = "Tikka and Karvanen (2019), Surrogate outcomes and transportability, figure 8"
CLB22 = "Correa, Lee and Bareinboim (2022), Counterfactual transportability, figures 2 and 3"
MEDIATED = "X -> Z -> Y; X <-> Z; X <-> Y"
META = (
    "X -> Z -> Y; W1 -> W2 -> Z; W3 -> Z; X -> W3; W2 -> X; X <-> W3; X <-> W2; X <-> W1; W1 <-> Z"
)
ENVIRONMENTS = (
    "Z1 -> X -> Z3 -> W -> U -> Y; Z2 -> X; Z3 -> U; Z1 -> Z3; "
    "Z1 <-> Z2; Z1 <-> X; Z2 <-> Z3; Z2 <-> U; W <-> Y"
)


def trial(name: str, shifted: str, *experiments: str, observed: bool = True) -> SourceDomain:
    return SourceDomain(
        name=name,
        shifted=names(shifted),
        experiments=sets(*experiments),
        observational=observed,
    )


ONE_SOURCE = (
    Case(
        name="pearl_bareinboim_2014_age",
        source=f"{PB14}, example 1: the populations differ in age Z",
        graph="Z -> {X, Y}; X -> Y; X <-> Y",
        query="P(Y | do(X))",
        domains=(trial("a", "Z", "X"),),
        identifiable=True,
        formula="sum_{Z} P^{a}_{X}(Y | Z) P(Z)",
    ),
    Case(
        name="pearl_bareinboim_2014_language_skill",
        source=f"{PB14}, example 2: they differ in how a proxy Z of age is acquired",
        graph="X -> Y; X <-> Y; Z <-> Y; Z <-> X",
        query="P(Y | do(X))",
        domains=(trial("a", "Z", "X"),),
        identifiable=True,
        formula="P^{a}_{X}(Y)",
        note="reweighting by Z would be wrong",
    ),
    Case(
        name="pearl_bareinboim_2014_biomarker",
        source=f"{PB14}, example 3: they differ in the mediator",
        graph="X -> Z -> Y; X -> Y; X <-> Y",
        query="P(Y | do(X))",
        domains=(trial("a", "Z", "X"),),
        identifiable=True,
        formula="sum_{Z} P^{a}_{X}(Y | Z) P(Z | X)",
    ),
    Case(
        name="transport_shifted_outcome",
        source=f"{BP12}, the basic s-hedge",
        graph="X -> Y; X <-> Y",
        query="P(Y | do(X))",
        domains=(trial("a", "Y", "X"),),
        identifiable=False,
    ),
    Case(
        name="transport_shifted_treatment",
        source=f"{PB14}: a selection node on the treatment only",
        graph="X -> Y; X <-> Y",
        query="P(Y | do(X))",
        domains=(trial("a", "X", "X"),),
        observational=False,
        identifiable=True,
        formula="P^{a}_{X}(Y)",
    ),
    Case(
        name="transport_trivial",
        source=f"{PB14}, definition of trivial transportability: the target alone suffices",
        graph="X -> Z -> Y; X <-> Y",
        query="P(Y | do(X))",
        domains=(trial("a", "X Z Y", "X"),),
        identifiable=True,
        formula="sum_{Z} P(Z | X) sum_{X'} P(Y | X', Z) P(X')",
    ),
    Case(
        name="transport_direct",
        source=f"{PB14}, definition of direct transportability: no difference that matters",
        graph="X -> Y -> Z; X <-> Y",
        query="P(Y | do(X))",
        domains=(trial("a", "Z", "X"),),
        observational=False,
        identifiable=True,
        formula="P^{a}_{X}(Y)",
    ),
    Case(
        name="transport_mediator_confounded_with_outcome",
        source=f"After {BP12}: the shifted mediator shares a cause with the outcome",
        graph="X -> Z -> Y; X <-> Y; Z <-> Y",
        query="P(Y | do(X))",
        domains=(trial("a", "Z", "X"),),
        identifiable=False,
    ),
    Case(
        name="transport_mediator_confounded_with_treatment",
        source=f"After {BP12}: the shifted mediator shares a cause with the treatment",
        graph="X -> Z -> Y; X <-> Z",
        query="P(Y | do(X))",
        domains=(trial("a", "Z", "X"),),
        identifiable=False,
    ),
    Case(
        name="transport_mediator_law_from_source",
        source=f"After {BP12}: only the outcome differs, and the target shows it",
        graph="X -> Z -> Y; X <-> Z",
        query="P(Y | do(X))",
        domains=(trial("a", "Y", "X"),),
        identifiable=True,
        formula="sum_{Z} P^{a}_{X}(Z) P(Y | Z)",
    ),
    Case(
        name="causaleffect_transport_example",
        source=f"{BP13G}; coded in the examples of the R package causaleffect (transport)",
        graph="X -> Z -> W -> V -> Y; X <-> Z; V <-> Y; X <-> Y",
        query="P(Y | do(X))",
        domains=(trial("a", "V", "X"),),
        identifiable=True,
        formula="sum_{Z, W, V} P^{a}_{X}(Z) P(W | Z) sum_{X', Z'} P(X', Z') P(V, Y | X', Z', W)",
    ),
    Case(
        name="transport_age_without_target_data",
        source=f"After {PB14}, example 1: the target's age distribution is not known",
        graph="Z -> {X, Y}; X -> Y; X <-> Y",
        query="P(Y | do(X))",
        domains=(trial("a", "Z", "X"),),
        observational=False,
        identifiable=False,
    ),
    Case(
        name="transport_age_specific_without_target_data",
        source=f"After {PB14}, example 1: age-specific effects carry over",
        graph="Z -> {X, Y}; X -> Y; X <-> Y",
        query="P(Y | do(X), Z)",
        domains=(trial("a", "Z", "X"),),
        observational=False,
        identifiable=True,
        formula="P^{a}_{X}(Y | Z)",
    ),
    Case(
        name="transport_observational_source",
        source=f"After {PB14}: no trial anywhere, the treatment differs",
        graph="X -> Y",
        query="P(Y | do(X))",
        domains=(trial("a", "X"),),
        observational=False,
        identifiable=True,
        formula="P^{a}(Y | X)",
    ),
    Case(
        name="z_transport_shifted_surrogate",
        source=f"After {BP13Z}: the source randomised Z, whose mechanism differs",
        graph="Z -> X -> Y; Z <-> X; Z <-> Y",
        query="P(Y | do(X))",
        domains=(trial("a", "Z", "Z"),),
        identifiable=True,
        formula="P^{a}_{Z}(Y | X)",
        note="Z is pinned",
    ),
    Case(
        name="z_transport_shifted_outcome",
        source=f"After {BP13Z}: the source randomised Z, the outcome differs",
        graph="Z -> X -> Y; Z <-> X; Z <-> Y",
        query="P(Y | do(X))",
        domains=(trial("a", "Y", "Z"),),
        identifiable=False,
    ),
)

SEVERAL_SOURCES = (
    Case(
        name="meta_transport_two_trials",
        source=f"After {BP13M}: two trials, each different in one mechanism",
        graph=MEDIATED,
        query="P(Y | do(X))",
        domains=(trial("a", "Y", "X"), trial("b", "Z", "X")),
        observational=False,
        identifiable=True,
        formula="sum_{Z} P^{a}_{X}(Z) P^{b}_{X}(Y | Z)",
    ),
    Case(
        name="meta_transport_first_trial_alone",
        source=f"After {BP13M}",
        graph=MEDIATED,
        query="P(Y | do(X))",
        domains=(trial("a", "Y", "X"),),
        identifiable=False,
    ),
    Case(
        name="meta_transport_second_trial_alone",
        source=f"After {BP13M}",
        graph=MEDIATED,
        query="P(Y | do(X))",
        domains=(trial("b", "Z", "X"),),
        identifiable=False,
    ),
    Case(
        name="meta_transport_inseparable",
        source=f"After {BP13M}: mediator and outcome share a cause, no trial has both right",
        graph="X -> Z -> Y; X <-> Z; X <-> Y; Z <-> Y",
        query="P(Y | do(X))",
        domains=(trial("a", "Y", "X"), trial("b", "Z", "X")),
        identifiable=False,
    ),
    Case(
        name="causaleffect_meta_transport_example",
        source=f"{BP13M}; coded in the examples of the R package causaleffect (meta.transport)",
        graph=META,
        query="P(Y | do(X))",
        domains=(trial("a", "X W2 W3 Y", "X"), trial("b", "X W1 W2 Y Z", "X")),
        identifiable=True,
        formula="sum_{W1, W2, W3, Z} "
        "P(Y | Z) P(W2 | W1) P^{b}_{X}(W3) P^{a}_{X}(Z | W1, W2, W3) P^{a}_{X}(W1)",
    ),
    Case(
        name="causaleffect_meta_transport_example_first_source",
        source=f"After {BP13M}; the same diagram with the first source only",
        graph=META,
        query="P(Y | do(X))",
        domains=(trial("a", "X W2 W3 Y", "X"),),
        identifiable=False,
    ),
    Case(
        name="causaleffect_generalize_example",
        source=f"{BP14}; coded in the examples of the R package causaleffect (generalize)",
        graph=ENVIRONMENTS,
        query="P(Y | do(X))",
        experiments=sets("Z1"),
        domains=(trial("a", "Z2 Z3 W", "Z2"), trial("b", "Z1 W U", "Z1")),
        identifiable=True,
        formula="sum_{Z1, Z3, W, U} P(Z1) [sum_{Z2} P_{Z1}(Z3 | X, Z2) P_{Z1}(Z2)] "
        "P^{a}_{Z2}(U | Z3, W) P(Y | Z3, W, U) P(W | Z3)",
        note="Z2 is pinned in the experiment of domain a",
    ),
    Case(
        name="tikka_karvanen_2019_fig8",
        source=TK19 + " (as coded in y0)",
        graph="X1 -> {Y1, Y2}; W -> {Y1, Y2}; Z -> {Y1, X2, Y2}; X2 -> Y2; "
        "X1 <-> Y1; Z <-> W; Z <-> X2",
        query="P(Y1, Y2 | do(X1, X2))",
        domains=(trial("a", "X1 Y2", "X1"), trial("b", "X2", "X2")),
        identifiable=True,
        formula="sum_{W, Z} P^{a}_{X1}(Y1 | W, Z) P(Y2 | X1, X2, W, Z) P(W, Z)",
    ),
    Case(
        name="tikka_karvanen_2019_fig8_second_source_shifted",
        source=f"After {TK19}: the other outcome differs in the only trial on X1",
        graph="X1 -> {Y1, Y2}; W -> {Y1, Y2}; Z -> {Y1, X2, Y2}; X2 -> Y2; "
        "X1 <-> Y1; Z <-> W; Z <-> X2",
        query="P(Y1, Y2 | do(X1, X2))",
        domains=(trial("a", "X1 Y1", "X1"), trial("b", "X2", "X2")),
        identifiable=False,
    ),
    Case(
        name="correa_2022_fig2_effect",
        source=f"After {CLB22}: an interventional query",
        graph="Z -> X -> Y; Z -> Y; X -> W -> Y; Z <-> X; W <-> Y",
        query="P(Y | do(X))",
        domains=(trial("a", "Z", "X"), trial("b", "W")),
        observational=False,
        identifiable=True,
        formula="sum_{Z} P^{a}_{X}(Y | Z) P^{b}(Z)",
    ),
    Case(
        name="correa_2022_fig2_treated",
        source=f"After {CLB22}, example 4.1: a counterfactual carried over from two sources",
        graph="Z -> X -> Y; Z -> Y; X -> W -> Y; Z <-> X; W <-> Y",
        query="P(Y_{X=1} | X=0)",
        domains=(trial("a", "Z", "X"), trial("b", "W")),
        observational=False,
        identifiable=True,
        formula="sum_{Z} P^{a}_{X=1}(Y | Z) P^{b}(Z | X=0)",
    ),
    Case(
        name="correa_2022_fig2_treated_first_source",
        source=f"After {CLB22}, example 4.1: without the source that has the target's Z",
        graph="Z -> X -> Y; Z -> Y; X -> W -> Y; Z <-> X; W <-> Y",
        query="P(Y_{X=1} | X=0)",
        domains=(trial("a", "Z", "X"),),
        observational=False,
        identifiable=False,
    ),
    Case(
        name="general_transport_three_experiments",
        source=f"After {LEE20}: each district from another population, none from the target",
        graph="X -> A -> B -> Y; X <-> A; A <-> Y; X <-> B",
        query="P(Y | do(X))",
        domains=(trial("a", "B", "X", observed=False), trial("b", "A Y", "A", observed=False)),
        observational=False,
        identifiable=True,
        formula="sum_{A, B} P^{a}_{X}(A) P^{b}_{A}(B) P^{a}_{X}(Y | A, B)",
    ),
    Case(
        name="general_transport_three_experiments_shifted",
        source=f"After {LEE20}: the same, and the two ends of a district are right in none",
        graph="X -> A -> B -> Y; X <-> A; A <-> Y; X <-> B",
        query="P(Y | do(X))",
        domains=(trial("a", "B A", "X", observed=False), trial("b", "A Y", "A", observed=False)),
        observational=False,
        identifiable=False,
    ),
)

CASES = ONE_SOURCE + SEVERAL_SOURCES
