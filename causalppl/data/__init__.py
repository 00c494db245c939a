"""Tables in, tensors out; tables of probabilities; small data sets with known answers.

=====================  ==========================================  ================================
name                   what it does                                paper
=====================  ==========================================  ================================
`Table`                named columns as tensors, from any frame    -
`Column`               one of them: values, categories, gaps       -
`Factor`               probabilities over finite variables         Koller and Friedman (2009)
`contract`             product and sum of factors, in greedy       Dechter (1999); Smith and Gray
                       order, without underflow                    (2018)
`counts`, `Counts`     how often values occur together, in memory  -
                       or in files larger than it
`available`            the names of the shipped data sets          -
`load_ihdp`            infant health programme, semi-synthetic     Hill (2011)
`load_kidney_stones`   treatments of kidney stones, counts         Charig et al. (1986)
`load_lalonde`         job training, experiment and controls       LaLonde (1986); Dehejia and
                                                                   Wahba (1999)
`load_nhefs`           smoking cessation and weight gain           Hernán and Robins (2020)
`load_obd_women`       logged recommendations of two policies      Saito et al. (2020)
`load_sachs`           signalling proteins in single cells         Sachs et al. (2005)
`load_sachs_edges`     reference networks for them                 Sachs et al. (2005)
`load_ucb_admissions`  admissions by department and gender         Bickel et al. (1975)
=====================  ==========================================  ================================
"""

from causalppl.data.column import Column
from causalppl.data.counts import Counts, counts
from causalppl.data.datasets import (
    available,
    load_ihdp,
    load_kidney_stones,
    load_lalonde,
    load_nhefs,
    load_obd_women,
    load_sachs,
    load_sachs_edges,
    load_ucb_admissions,
)
from causalppl.data.factor import Factor, contract
from causalppl.data.table import Table

__all__ = [
    "Column",
    "Counts",
    "Factor",
    "Table",
    "available",
    "contract",
    "counts",
    "load_ihdp",
    "load_kidney_stones",
    "load_lalonde",
    "load_nhefs",
    "load_obd_women",
    "load_sachs",
    "load_sachs_edges",
    "load_ucb_admissions",
]
