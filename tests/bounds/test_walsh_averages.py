"""Quantiles of averages of two differences are those of all averages, written out."""

import numpy as np
import pytest

from causalppl.bounds import walsh_averages
from causalppl.bounds.walsh_averages import walsh_quantiles


def written_out(differences, share):
    i, j = np.triu_indices(len(differences))
    averages = np.sort((differences[i] + differences[j]) / 2)
    wanted = share * len(averages)
    place = round(wanted)
    if abs(wanted - place) > 1e-9 * max(wanted, 1):
        return averages[int(wanted)]
    return (averages[max(place - 1, 0)] + averages[min(place, len(averages) - 1)]) / 2


@pytest.mark.parametrize("is_searched", [False, True])
@pytest.mark.parametrize("seed", range(15))
def test_quantiles_are_those_of_all_averages(seed, is_searched, monkeypatch):
    if is_searched:
        monkeypatch.setattr(walsh_averages, "_FEW", 20)
        monkeypatch.setattr(walsh_averages, "_MOST_LISTED", 50)
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 400))
    kinds = (rng.normal(size=n), np.round(rng.normal(size=n), 1), rng.standard_cauchy(n))
    differences, shares = kinds[seed % 3], [0.0, 0.5, 1.0, *rng.random(4)]
    expected = [written_out(differences, share) for share in shares]
    assert walsh_quantiles(differences, shares) == pytest.approx(expected, abs=1e-12)


def test_many_differences_of_many_values_are_searched():
    differences = np.random.default_rng(0).permutation(100_001) * 1.0
    low, middle, high = walsh_quantiles(differences, (0.1, 0.5, 0.9))
    assert middle == 50_000
    assert low + high == pytest.approx(100_000, abs=1)
    assert low / 100_000 == pytest.approx(np.sqrt(0.1 / 2), abs=1e-4)  # of a triangular law
