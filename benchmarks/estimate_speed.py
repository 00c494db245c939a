"""What does an estimate cost beyond the work that nobody can avoid?

For a regression-based estimator that is fitting its nuisance models once on the same rows; for the
Dirichlet posterior, counting the rows once. Both are measured in the same run.
"""

import numpy as np
from _harness import Row, Target, benchmark, compare
from sklearn.linear_model import LinearRegression, LogisticRegression

from causalppl import ADMG, estimate, identify
from causalppl.data import Table, counts
from causalppl.estimation import AIPW, IPW, Dirichlet, GFormula

COVARIATES = tuple(f"Z{i}" for i in range(10))


def rows(count: int) -> dict[str, np.ndarray]:
    """Draw ten covariates, a binary treatment and a linear outcome."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(count, len(COVARIATES)))
    x = (rng.random(count) < 1 / (1 + np.exp(-z[:, :3].sum(1) / 2))).astype(float)
    y = 2 * x + z.sum(1) + rng.normal(size=count)
    return {**dict(zip(COVARIATES, z.T, strict=True)), "X": x, "Y": y}


def codes(count: int, columns: int) -> dict[str, np.ndarray]:
    """Draw binary columns; the first two confound the effect of X on Y."""
    rng = np.random.default_rng(0)
    wide = {f"C{i}": rng.integers(0, 2, count) for i in range(columns)}
    x = (rng.random(count) < 0.2 + 0.5 * wide["C0"]).astype(int)
    y = (rng.random(count) < 0.1 + 0.3 * x + 0.4 * wide["C1"]).astype(int)
    return {**wide, "X": x, "Y": y}


def main() -> None:
    with benchmark("estimate_speed") as run:
        names = ", ".join(COVARIATES)
        graph = ADMG.parse(f"{{{names}}} -> X; {{{names}}} -> Y; X -> Y")
        estimand = identify(graph, "ATE(X -> Y)")
        data = Table.from_any(rows(100_000))
        design = np.stack([data[name].numpy() for name in COVARIATES], 1)
        x, y = data["X"].numpy(), data["Y"].numpy()
        fits = {
            "GFormula": lambda: LinearRegression().fit(np.c_[design, x], y),
            "IPW": lambda: LogisticRegression(C=np.inf).fit(design, x),
        }
        ways = {"GFormula": GFormula(), "IPW": IPW()}
        for name, method in ways.items():
            times = compare(
                {
                    "here": lambda method=method: estimate(estimand, data, method=method, seed=0),
                    "bare fit": fits[name],
                },
                budget=6.0,
            )
            run.add(
                Row(
                    f"{name}, with its interval, against the bare fit of its model",
                    "100,000 rows, 10 covariates",
                    times.ratio("here", "bare fit"),
                )
            )
        default = compare(
            {"here": lambda: estimate(estimand, data, method=AIPW(), seed=0)}, budget=10.0, most=4
        )
        run.add(
            Row(
                "AIPW with its default learners, cross-fitted",
                "100,000 rows, 10 covariates",
                default.seconds("here"),
            )
        )
        wide = Table.from_any(codes(100_000, 28))
        asked = identify(ADMG.parse("{C0, C1} -> X; {C0, C1, X} -> Y"), "ATE(X -> Y)")
        times = compare(
            {
                "here": lambda: estimate(asked, wide, method=Dirichlet(), seed=0),
                "count": lambda: counts(wide, ["C0", "C1", "X", "Y"]),
            },
            budget=4.0,
        )
        setting = "100,000 rows, 30 columns, 4 in the formula"
        run.add(
            Row("Dirichlet, 1,000 draws", setting, times.seconds("here"), Target("at most", 1.0))
        )
        run.add(
            Row(
                "Dirichlet against counting its columns once", setting, times.ratio("here", "count")
            )
        )


if __name__ == "__main__":
    main()
