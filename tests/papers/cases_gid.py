"""Identification from observations and experiments on other variables: zID and gID."""

from .case import Case, sets

BP12 = "Bareinboim and Pearl (2012), Causal inference by surrogate experiments: z-identifiability"
LEE19 = "Lee, Correa and Bareinboim (2019), General identifiability with arbitrary surrogate"
LEE19 += " experiments"
KIVVA = "Kivva, Mokhtarian, Etesami and Kiyavash (2022), Revisiting the general identifiability"
KIVVA += " problem"
TWO_DRUGS = "X1 -> W -> Y; X2 -> Y; X1 <-> X2; X1 <-> W; X2 <-> Y"
THICKET = "X1 -> Y; X2 -> Y; X1 <-> Y; X2 <-> Y"
FRONT_DOOR = "X -> Z -> Y; X <-> Y"
BACK = "Z -> X -> W -> Y; X <-> Z; X <-> Y; W <-> Z; Y <-> Z"

CASES = (
    Case(
        name="bareinboim_pearl_2012_fig1a",
        source=f"{BP12}, figure 1(a)",
        graph="Z -> X -> Y; Z <-> X; Z <-> Y",
        query="P(Y | do(X))",
        experiments=sets("Z"),
        identifiable=True,
        formula="P_{Z}(Y | X)",
        note="Z is pinned; not identifiable from observations",
    ),
    Case(
        name="bareinboim_pearl_2012_fig1b",
        source=f"{BP12}, figure 1(b): an instrument, randomised",
        graph="Z -> X -> Y; X <-> Y; Z <-> Y",
        query="P(Y | do(X))",
        experiments=sets("Z"),
        identifiable=False,
    ),
    Case(
        name="bareinboim_pearl_2012_fig1c",
        source=f"{BP12}, figure 1(c)",
        graph="Z -> Y; X -> Y; X <-> Z; Z <-> Y",
        query="P(Y | do(X))",
        experiments=sets("Z"),
        identifiable=False,
    ),
    Case(
        name="bareinboim_pearl_2012_fig1c_both",
        source=f"After {BP12}, figure 1(c): the surrogate is itself set",
        graph="Z -> Y; X -> Y; X <-> Z; Z <-> Y",
        query="P(Y | do(X, Z))",
        experiments=sets("Z"),
        identifiable=True,
        formula="P_{Z}(Y | X)",
    ),
    Case(
        name="causaleffect_aux_effect_example",
        source=f"{BP12}; coded in the examples of the R package causaleffect (aux.effect)",
        graph="W -> Z -> X -> Y; W -> Y; W <-> Y; Z <-> Y; Z <-> X",
        query="P(Y | do(X))",
        experiments=sets("Z"),
        identifiable=True,
        formula="sum_{W} P_{Z}(Y | X, W) P_{Z}(W)",
    ),
    Case(
        name="causaleffect_aux_effect_example_observations_only",
        source=f"{BP12}; coded in the examples of the R package causaleffect (aux.effect)",
        graph="W -> Z -> X -> Y; W -> Y; W <-> Y; Z <-> Y; Z <-> X",
        query="P(Y | do(X))",
        identifiable=False,
    ),
    Case(
        name="fig3_9h_with_an_experiment",
        source=f"After {BP12} and Pearl (2009), figure 3.9(h): an experiment leaves a front door",
        graph=BACK,
        query="P(Y | do(X))",
        experiments=sets("Z"),
        identifiable=True,
        formula="sum_{W} P_{Z}(W | X) sum_{X'} P_{Z}(Y | X', W) P_{Z}(X')",
    ),
    Case(
        name="fig3_9h_with_the_wrong_experiment",
        source=f"After {BP12} and Pearl (2009), figure 3.9(h)",
        graph=BACK,
        query="P(Y | do(X))",
        experiments=sets("W"),
        identifiable=False,
    ),
    Case(
        name="lee_2019_two_experiments",
        source=f"After {LEE19}; the two-treatment example of ananke's tutorial on surrogates "
        "with a confounder on each arm",
        graph=TWO_DRUGS,
        query="P(Y | do(X1, X2))",
        experiments=sets("X1", "X2"),
        observational=False,
        identifiable=True,
        formula="sum_{W} P_{X1}(W) P_{X2}(Y | W)",
    ),
    Case(
        name="lee_2019_two_experiments_first_alone",
        source=f"After {LEE19}",
        graph=TWO_DRUGS,
        query="P(Y | do(X1, X2))",
        experiments=sets("X1"),
        identifiable=False,
    ),
    Case(
        name="lee_2019_two_experiments_second_alone",
        source=f"After {LEE19}",
        graph=TWO_DRUGS,
        query="P(Y | do(X1, X2))",
        experiments=sets("X2"),
        identifiable=False,
    ),
    Case(
        name="ananke_surrogates_unconfounded",
        source="The diagram of ananke's tutorial on identification with surrogates (after Lee and "
        "Shpitser 2020), before any experiment is needed",
        graph="X1 -> W -> Y; X2 -> Y; X1 <-> X2",
        query="P(Y | do(X1, X2))",
        identifiable=True,
        formula="sum_{W} P(W | X1) P(Y | W, X2)",
    ),
    Case(
        name="lee_2019_thicket",
        source=f"After {LEE19}: hedges in both experiments form a thicket",
        graph=THICKET,
        query="P(Y | do(X1, X2))",
        experiments=sets("X1", "X2"),
        identifiable=False,
    ),
    Case(
        name="lee_2019_thicket_joint_experiment",
        source=f"After {LEE19}: the joint experiment cuts the thicket",
        graph=THICKET,
        query="P(Y | do(X1, X2))",
        experiments=sets("X1 X2"),
        observational=False,
        identifiable=True,
        formula="P_{X1, X2}(Y)",
    ),
    Case(
        name="lee_2019_larger_experiment",
        source=f"After {LEE19}: the joint experiment does not give a single effect",
        graph=THICKET,
        query="P(Y | do(X1))",
        experiments=sets("X1 X2"),
        identifiable=False,
        note="needs the law of X2 and U2 jointly",
    ),
    Case(
        name="lee_2019_larger_experiment_helps",
        source=f"After {LEE19}: the joint experiment, and X2 without a latent cause",
        graph="X1 -> Y; X2 -> Y; X1 <-> Y",
        query="P(Y | do(X1))",
        experiments=sets("X1 X2"),
        identifiable=True,
        formula="sum_{X2} P_{X1, X2}(Y) P(X2)",
    ),
    Case(
        name="kivva_2022_experiment_without_observations",
        source=f"After {KIVVA}: observations are one more input, not always given",
        graph=FRONT_DOOR,
        query="P(Y | do(X))",
        experiments=sets("Z"),
        observational=False,
        identifiable=False,
        note="the front door, but P(Z | X) is not among the data",
    ),
    Case(
        name="kivva_2022_two_experiments_without_observations",
        source=f"After {KIVVA}",
        graph="X -> Z -> Y; X <-> Z; X <-> Y",
        query="P(Y | do(X))",
        experiments=sets("Z", "X"),
        observational=False,
        identifiable=True,
        formula="P_{X}(Y)",
    ),
    Case(
        name="gid_mediator_experiment_and_observations",
        source=f"After {LEE19}: the mediator's experiment replaces the second half of a front door",
        graph="X -> Z -> W -> Y; X <-> Y; X <-> W; W <-> Y",
        query="P(Y | do(X))",
        experiments=sets("Z"),
        identifiable=True,
        formula="sum_{Z} P(Z | X) P_{Z}(Y)",
    ),
    Case(
        name="gid_bow_other_experiment",
        source=f"After {LEE19}: an experiment downstream of the hedge",
        graph="X -> Z -> Y; X <-> Z",
        query="P(Y | do(X))",
        experiments=sets("Z"),
        identifiable=False,
    ),
    Case(
        name="gid_conditional_trial",
        source="After Lee, Correa and Bareinboim (2020), General transportability: conditional "
        "effects from experiments",
        graph="C -> X -> Y; C -> Y; X <-> Y; C <-> Y",
        query="P(Y | do(X), C)",
        experiments=sets("X"),
        observational=False,
        identifiable=True,
        formula="P_{X}(Y | C)",
    ),
)
