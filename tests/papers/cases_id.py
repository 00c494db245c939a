"""Identification of interventional distributions from observations: ID; `cases_idc` for IDC."""

from . import cases_idc
from .case import Case

PEARL = "Pearl (2009), Causality, 2nd ed."
SP06 = "Shpitser and Pearl (2006), Identification of joint interventional distributions"
SP08 = "Shpitser and Pearl (2008), Complete identification methods for the causal hierarchy"
TIAN = "Tian (2002), Studies in causal reasoning and learning"
TP02 = "Tian and Pearl (2002), A general identification condition for causal effects"
PRUNING = "Tikka and Karvanen (2018), Enhancing identification of causal effects by pruning"
ZUCKER = "Zucker et al. (2021), Leveraging structured biological knowledge for counterfactual"
ZUCKER += " inference"
ROBINS = "Robins (1986), A new approach to causal inference in mortality studies"
NAPKIN = "W -> Z -> X -> Y; W <-> X; W <-> Y"
FRONT_DOOR = "X -> Z -> Y; X <-> Y"

IDENTIFIABLE = (
    Case(
        name="pearl_2009_fig3_8a",
        source=f"{PEARL}, figure 3.8(a); {SP08}, figure 2(a)",
        graph="X -> Y",
        query="P(Y | do(X))",
        identifiable=True,
        formula="P(Y | X)",
    ),
    Case(
        name="pearl_2009_fig3_8b",
        source=f"{PEARL}, figure 3.8(b); {SP08}, figure 2(b)",
        graph="X -> Y; X -> Z -> Y; Z <-> Y",
        query="P(Y | do(X))",
        identifiable=True,
        formula="P(Y | X)",
    ),
    Case(
        name="pearl_2009_fig3_8c",
        source=f"{PEARL}, figure 3.8(c); {SP08}, figure 2(c)",
        graph="Z -> X -> Y; Z -> Y; Z <-> Y",
        query="P(Y | do(X))",
        identifiable=True,
        formula="sum_{Z} P(Y | X, Z) P(Z)",
    ),
    Case(
        name="pearl_2009_fig3_8d",
        source=f"{PEARL}, figure 3.8(d); {SP08}, figure 2(d); the first example of causaleffect",
        graph="Z -> X -> Y; Z -> Y; X <-> Z",
        query="P(Y | do(X))",
        identifiable=True,
        formula="sum_{Z} P(Y | X, Z) P(Z)",
    ),
    Case(
        name="pearl_2009_fig3_8e_front_door",
        source=f"{PEARL}, figure 3.8(e) and theorem 3.3.4; {SP08}, figure 2(e)",
        graph=FRONT_DOOR,
        query="P(Y | do(X))",
        identifiable=True,
        formula="sum_{Z} P(Z | X) sum_{X'} P(Y | X', Z) P(X')",
    ),
    Case(
        name="pearl_2009_fig3_8f",
        source=f"{PEARL}, figure 3.8(f); {SP08}, figure 2(f)",
        graph="X -> Z1 -> Y; X -> Y; Z1 -> Z2 -> Y; X <-> Z2; Z1 <-> Y",
        query="P(Y | do(X))",
        identifiable=True,
        formula="sum_{Z1, Z2} P(Y | X, Z1, Z2) P(Z1 | X) sum_{X'} P(Z2 | X', Z1) P(X')",
    ),
    Case(
        name="pearl_2009_fig3_8g",
        source=f"{PEARL}, figure 3.8(g); {SP08}, figure 2(g)",
        graph="Z2 -> {X, Z1, Z3}; X -> Z1 -> Y; Z3 -> Y; Z2 <-> X; Z2 <-> Y; X <-> Z3; X <-> Y",
        query="P(Y | do(X))",
        identifiable=True,
        formula="sum_{Z1, Z2, Z3} P(Z1 | X, Z2) "
        "sum_{X'} P(Y | X', Z1, Z2, Z3) P(Z3 | X', Z2) P(X', Z2)",
    ),
    Case(
        name="pearl_2009_fig1_2_sprinkler",
        source=f"{PEARL}, figure 1.2 and section 1.3.1: the truncated factorisation",
        graph="X1 -> {X2, X3}; {X2, X3} -> X4 -> X5",
        query="P(X1, X2, X4, X5 | do(X3))",
        identifiable=True,
        formula="P(X1) P(X2 | X1) P(X4 | X2, X3) P(X5 | X4)",
    ),
    Case(
        name="pearl_2009_smoking_tar",
        source=f"{PEARL}, section 3.4.3, task 1",
        graph=FRONT_DOOR,
        query="P(Z | do(X))",
        identifiable=True,
        formula="P(Z | X)",
    ),
    Case(
        name="pearl_2009_smoking_cancer_from_tar",
        source=f"{PEARL}, section 3.4.3, task 2",
        graph=FRONT_DOOR,
        query="P(Y | do(Z))",
        identifiable=True,
        formula="sum_{X} P(Y | X, Z) P(X)",
    ),
    Case(
        name="pearl_2009_smoking_joint",
        source=f"{PEARL}, section 3.4.3, task 4",
        graph=FRONT_DOOR,
        query="P(Y, Z | do(X))",
        identifiable=True,
        formula="P(Z | X) sum_{X'} P(Y | X', Z) P(X')",
    ),
    Case(
        name="pearl_2009_smoking_upstream",
        source=f"{PEARL}, section 3.4.3, task 5",
        graph=FRONT_DOOR,
        query="P(X, Y | do(Z))",
        identifiable=True,
        formula="P(Y | X, Z) P(X)",
    ),
    Case(
        name="pearl_1995_soil_fumigants",
        source="Pearl (1995), Causal diagrams for empirical research, figure 1 and equation 1 "
        "(Cochran's eelworms; Z0 and B are latent)",
        graph="X -> {Z2, Y}; Z1 -> Z2 -> {Z3, Y}; Z3 -> Y; X <-> Z1; X <-> Z3; Z1 <-> Z3",
        query="P(Y | do(X))",
        identifiable=True,
        formula="sum_{Z1, Z2, Z3} P(Y | X, Z2, Z3) P(Z2 | X, Z1) "
        "sum_{X'} P(Z3 | X', Z1, Z2) P(X', Z1)",
    ),
    Case(
        name="pearl_robins_1995_plan",
        source=f"Pearl and Robins (1995), Probabilistic evaluation of sequential plans; {PEARL}, "
        "figure 4.4",
        graph="X1 -> {Z, Y, X2}; Z -> X2 -> Y; X1 <-> Z; Z <-> Y",
        query="P(Y | do(X1, X2))",
        identifiable=True,
        formula="sum_{Z} P(Y | X1, X2, Z) P(Z | X1)",
    ),
    Case(
        name="robins_1986_g_formula",
        source=f"{ROBINS}: the g-formula for two treatments",
        graph="A0 -> L -> A1 -> Y; A0 -> {A1, Y}; L <-> Y",
        query="P(Y | do(A0, A1))",
        identifiable=True,
        formula="sum_{L} P(Y | A0, A1, L) P(L | A0)",
    ),
    Case(
        name="robins_1986_g_formula_first_treatment",
        source="After Robins (1986): the first treatment alone",
        graph="A0 -> L -> A1 -> Y; A0 -> {A1, Y}; L <-> Y",
        query="P(Y | do(A0))",
        identifiable=True,
        formula="P(Y | A0)",
    ),
    Case(
        name="pearl_mackenzie_2018_napkin",
        source="Pearl and Mackenzie (2018), The book of why, figure 7.5",
        graph=NAPKIN,
        query="P(Y | do(X))",
        identifiable=True,
        formula="[sum_{W} P(X, Y | Z, W) P(W)] / [sum_{W} P(X | Z, W) P(W)]",
        note="Z is pinned: any value gives the same answer",
    ),
    Case(
        name="napkin_instrument",
        source="After Pearl and Mackenzie (2018), The book of why, figure 7.5",
        graph=NAPKIN,
        query="P(X, Y | do(Z))",
        identifiable=True,
        formula="sum_{W} P(X, Y | Z, W) P(W)",
    ),
    Case(
        name="shpitser_pearl_2008_two_outcomes",
        source=f"{SP08}, figure 3(a), worked in figure 5; its printed formula has "
        "P(Y1, W2) for P(Y2, W2)",
        graph="W1 -> X -> Y1; W2 -> Y2; W1 <-> W2; W1 <-> Y1; W1 <-> Y2; X <-> W2",
        query="P(Y1, Y2 | do(X))",
        identifiable=True,
        formula="[sum_{W2} P(Y2, W2)] [sum_{W1} P(Y1 | X, W1) P(W1)]",
    ),
    Case(
        name="verma_pearl_1990_last_effect",
        source=f"Verma and Pearl (1990), Equivalence and synthesis of causal models; {TIAN}",
        graph="V1 -> V2 -> V3 -> V4; V2 <-> V4",
        query="P(V4 | do(V3))",
        identifiable=True,
        formula="sum_{V2} P(V4 | V1, V2, V3) P(V2 | V1)",
        note="V1 is pinned; that the choice does not matter is Verma's constraint",
    ),
    Case(
        name="tian_2002_chain_of_five",
        source=f"{TIAN}, page 70",
        graph="V1 -> V2 -> V3 -> V4 -> V5; V1 <-> V3; V2 <-> V4; V3 <-> V5",
        query="P(V5 | do(V1))",
        identifiable=True,
        formula="sum_{V2, V3, V4} P(V4 | V1, V2, V3) P(V2 | V1) "
        "sum_{V1'} P(V5 | V1', V2, V3, V4) P(V3 | V1', V2) P(V1')",
    ),
    Case(
        name="tian_2002_chain_of_five_second",
        source=f"{TIAN}, page 59",
        graph="V1 -> V2 -> V3 -> V4 -> V5; V1 <-> V5; V1 <-> V3; V2 <-> V4",
        query="P(V5 | do(V1))",
        identifiable=True,
        formula="sum_{V2, V3, V4} P(V4 | V1, V2, V3) P(V2 | V1) "
        "sum_{V1'} P(V5 | V1', V2, V3, V4) P(V3 | V1', V2) P(V1')",
    ),
    Case(
        name="tian_2002_upstream_confounders",
        source=f"{TIAN}, page 90",
        graph="W1 -> W2 -> X -> Y; W3 -> W4 -> X; "
        "W1 <-> X; W1 <-> Y; W1 <-> W3; W3 <-> W2; W3 <-> W5; W5 <-> W4",
        query="P(Y | do(X))",
        identifiable=True,
        formula="[sum_{W1, W3} P(X, Y | W1, W2, W3, W4) P(W3 | W1, W2) P(W1)] / "
        "[sum_{W1, W3} P(X | W1, W2, W3, W4) P(W3 | W1, W2) P(W1)]",
        note="W2 and W4 are pinned",
    ),
    Case(
        name="tian_pearl_2002_criterion_front_door",
        source=f"{TP02}, theorem 3: no bidirected path from X to its child Z",
        graph="X -> Z1 -> Z2 -> Y; X <-> Z2; X <-> Y",
        query="P(Z1, Z2, Y | do(X))",
        identifiable=True,
        formula="P(Z1 | X) sum_{X'} P(Y | X', Z1, Z2) P(Z2 | X', Z1) P(X')",
    ),
    Case(
        name="tikka_karvanen_2018_pruning_two_treatments",
        source=f"{PRUNING}; coded in the examples of the R package causaleffect",
        graph="W1 -> X1 -> Y1; W2 -> {W1, X2}; X2 -> Z -> {Y1, Y2}; "
        "W1 <-> W2; W1 <-> X1; W2 <-> X2; X1 <-> Z; X2 <-> Y2; X1 <-> X2",
        query="P(Y1, Y2 | do(X1, X2))",
        identifiable=True,
    ),
    Case(
        name="tikka_karvanen_2018_pruning_shield",
        source=f"{PRUNING}; coded in the examples of the R package causaleffect",
        graph="Z2 -> Z1 -> X -> Y; W1 -> {Z2, W2}; W2 -> Z2; "
        "X <-> Z2; Z2 <-> Y; W1 <-> W2; W2 <-> Z2",
        query="P(Y | do(X))",
        identifiable=True,
        formula="[sum_{Z2} P(X, Y | Z1, Z2) P(Z2)] / [sum_{Z2} P(X | Z1, Z2) P(Z2)]",
        note="Z1 is pinned",
    ),
    Case(
        name="tikka_karvanen_2018_pruning_seven",
        source=f"{PRUNING}; coded, with this formula, in the tests of the R package causaleffect",
        graph="Z3 -> Z2 -> Z1 -> X -> Z4 -> Y; Z3 -> X; Z5 -> {Z1, Z4}; "
        "X <-> Z2; Z3 <-> Z2; Z2 <-> Y; Z4 <-> Y; Z5 <-> Z4",
        query="P(Y | do(X))",
        identifiable=True,
        formula="[sum_{Z2, Z5} P(Y | X, Z1, Z2, Z5) P(X | Z1, Z2, Z5) P(Z2 | Z5) P(Z5)] / "
        "[sum_{Z2} P(X | Z1, Z2) P(Z2)]",
        note="Z1 is pinned",
    ),
    Case(
        name="bhattacharya_2022_primal_fixable",
        source="Bhattacharya, Nabi and Shpitser (2022), Semiparametric inference for causal "
        "effects in graphical models with hidden variables; coded in the tests of ananke",
        graph="C1 -> {T, L}; C2 -> {T, M, L, Y}; T -> M -> L -> Y; Z1 <-> C1; Z2 <-> C2; T <-> L",
        query="P(Y | do(T))",
        identifiable=True,
        formula="sum_{C1, C2, M, L} P(Y | C2, L) P(M | T, C2) P(C1, C2) "
        "sum_{T'} P(L | T', M, C1, C2) P(T' | C1, C2)",
    ),
    Case(
        name="zucker_2021_growth_factor",
        source=f"{ZUCKER}, the IGF signalling diagram",
        graph="SOS -> Ras -> PI3K -> AKT -> Raf -> Mek -> Erk; Ras -> Raf; SOS <-> PI3K",
        query="P(Erk | do(SOS))",
        identifiable=True,
        formula="sum_{Ras, PI3K, Raf} P(Erk | Raf) P(Ras | SOS) P(Raf | PI3K, Ras) "
        "sum_{SOS'} P(PI3K | Ras, SOS') P(SOS')",
    ),
    Case(
        name="zucker_2021_sars_small",
        source=f"{ZUCKER}, the reduced SARS-CoV-2 diagram as coded in y0",
        graph="ADAM17 -> {EGFR, TNF, Sil6r}; {EGFR, TNF, IL6STAT3} -> cytok; Sil6r -> IL6STAT3; "
        "ADAM17 <-> cytok; ADAM17 <-> Sil6r; EGFR <-> TNF; EGFR <-> IL6STAT3",
        query="P(cytok | do(EGFR))",
        identifiable=True,
    ),
    Case(
        name="zucker_2021_sars_large",
        source=f"{ZUCKER}, the SARS-CoV-2 diagram",
        graph="SARS_COV2 -> ACE2 -> Ang -> AGTR1 -> ADAM17 -> EGF -> EGFR -> NFKB -> IL6AMP; "
        "ADAM17 -> TNF -> NFKB; ADAM17 -> Sil6r -> IL6STAT3 -> IL6AMP -> cytok; "
        "SARS_COV2 -> PRR -> NFKB; Toci -> Sil6r; Gefi -> EGFR; SARS_COV2 <-> Ang; "
        "ADAM17 <-> Sil6r; PRR <-> NFKB; EGF <-> EGFR; EGFR <-> TNF; EGFR <-> IL6STAT3",
        query="P(cytok | do(Sil6r))",
        identifiable=True,
    ),
)

NOT_IDENTIFIABLE = (
    Case(
        name="pearl_2009_fig3_9a_bow",
        source=f"{PEARL}, figure 3.9(a); {SP08}, figure 1(a): the bow arc",
        graph="X -> Y; X <-> Y",
        query="P(Y | do(X))",
        identifiable=False,
    ),
    Case(
        name="pearl_2009_fig3_9b",
        source=f"{PEARL}, figure 3.9(b); {SP08}, figure 1(b)",
        graph="X -> Z -> Y; X <-> Z",
        query="P(Y | do(X))",
        identifiable=False,
    ),
    Case(
        name="pearl_2009_fig3_9c",
        source=f"{PEARL}, figure 3.9(c); {SP08}, figure 1(c)",
        graph="X -> Z -> Y; X -> Y; X <-> Z",
        query="P(Y | do(X))",
        identifiable=False,
    ),
    Case(
        name="pearl_2009_fig3_9d",
        source=f"{PEARL}, figure 3.9(d); {SP08}, figure 1(d)",
        graph="X -> Y; Z -> Y; X <-> Z; Z <-> Y",
        query="P(Y | do(X))",
        identifiable=False,
    ),
    Case(
        name="pearl_2009_fig3_9e",
        source=f"{PEARL}, figure 3.9(e); {SP08}, figure 1(e)",
        graph="Z -> X -> Y; X <-> Z; Z <-> Y",
        query="P(Y | do(X))",
        identifiable=False,
    ),
    Case(
        name="pearl_2009_fig3_9f",
        source=f"{PEARL}, figure 3.9(f); {SP08}, figure 1(f)",
        graph="X -> Z -> Y; X <-> Y; Z <-> Y",
        query="P(Y | do(X))",
        identifiable=False,
    ),
    Case(
        name="pearl_2009_fig3_9g",
        source=f"{PEARL}, figure 3.9(g); {SP08}, figure 1(g)",
        graph="X -> Z1 -> Y; Z2 -> Y; X <-> Z2; Z1 <-> Z2",
        query="P(Y | do(X))",
        identifiable=False,
    ),
    Case(
        name="pearl_2009_fig3_9h",
        source=f"{PEARL}, figure 3.9(h); {SP08}, figure 1(h)",
        graph="Z -> X -> W -> Y; X <-> Z; X <-> Y; W <-> Z; Y <-> Z",
        query="P(Y | do(X))",
        identifiable=False,
    ),
    Case(
        name="pearl_2009_instrument",
        source=f"{PEARL}, section 3.5: an instrument does not identify without linearity",
        graph="Z -> X -> Y; X <-> Y",
        query="P(Y | do(X))",
        identifiable=False,
    ),
    Case(
        name="tian_pearl_2002_criterion_napkin",
        source=f"{TP02}, theorem 3: a bidirected path joins X and its child Y",
        graph=NAPKIN,
        query="P(W, Z, Y | do(X))",
        identifiable=False,
        note="P(Y | do(X)) is identifiable in the same diagram",
    ),
    Case(
        name="shpitser_pearl_2008_two_outcomes_hedge",
        source=f"{SP08}, figure 3(b): the edge W1 -> W2 makes a hedge",
        graph="W1 -> X -> Y1; W1 -> W2 -> Y2; W1 <-> W2; W1 <-> Y1; W1 <-> Y2; X <-> W2",
        query="P(Y1, Y2 | do(X))",
        identifiable=False,
    ),
    Case(
        name="shpitser_pearl_2006_hedge_below",
        source=f"After {SP06}: the roots of a hedge need not be outcomes",
        graph="X -> W -> Y; X <-> W; W <-> Z; Z -> Y",
        query="P(Y | do(X))",
        identifiable=False,
    ),
    Case(
        name="robins_1986_confounded_first_treatment",
        source="After Robins (1986): the first treatment shares a cause with the outcome",
        graph="A0 -> L -> A1 -> Y; A0 -> {A1, Y}; A0 <-> Y; L <-> Y",
        query="P(Y | do(A0, A1))",
        identifiable=False,
    ),
    Case(
        name="front_door_leaky",
        source=f"After {PEARL}, theorem 3.3.4: a direct effect beside the mediator",
        graph="X -> Z -> Y; X -> Y; X <-> Y",
        query="P(Y | do(X))",
        identifiable=False,
    ),
    Case(
        name="verma_chain_bow_above",
        source=f"After {TIAN}: Verma's chain, the treatment before the pair",
        graph="V1 -> V2 -> V3 -> V4; V2 <-> V4; V2 <-> V3",
        query="P(V4 | do(V2))",
        identifiable=False,
    ),
)

CASES = IDENTIFIABLE + NOT_IDENTIFIABLE + cases_idc.CASES
