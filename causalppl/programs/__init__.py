"""Structural causal models that are Pyro programs.

======================  ==================================================  =====================
name                    what it does                                        paper
======================  ==================================================  =====================
``SCM``                 a model: program, sites, diagram, couplings         Pearl 2009
``do``                  intervene, as an effect handler                     Pearl 2009
``Shift``, ``World``    interventions beside values and policies            Correa, Bareinb. 2020
``intervened_value``    register another type of intervention
``twin_worlds``         several worlds with shared noise, as one program    Balke, Pearl 1994
``TwinWorlds``,         what it returns, and what that returns
``WorldValues``
``simulate``,           run worlds on given factual values
``Simulation``
``read_structure``,     sites and parents of any program
``Structure``,
``Site``
``Coupling``            how a value comes from noise                        Pearl 2009, ch. 7
``coupling_for``,       look a family's coupling up; add one
``register_coupling``
``coupling_table``,     all families, for the documentation
``refusal_table``
``LocationScale``       noise by whitening
``Quantile``            monotone noise, by the distribution function
``GumbelMax``           noise of categories                                 Oberst, Sontag 2019
======================  ==================================================  =====================
"""

from causalppl.programs.couplings import (
    Coupling,
    coupling_for,
    coupling_table,
    refusal_table,
    register_coupling,
)
from causalppl.programs.do import do
from causalppl.programs.interventions import Shift, World, intervened_value
from causalppl.programs.scm import SCM
from causalppl.programs.simulate import Simulation, simulate
from causalppl.programs.structural import GumbelMax, LocationScale, Quantile
from causalppl.programs.structure import Site, Structure, read_structure
from causalppl.programs.worlds import TwinWorlds, WorldValues, twin_worlds

__all__ = [
    "SCM",
    "Coupling",
    "GumbelMax",
    "LocationScale",
    "Quantile",
    "Shift",
    "Simulation",
    "Site",
    "Structure",
    "TwinWorlds",
    "World",
    "WorldValues",
    "coupling_for",
    "coupling_table",
    "do",
    "intervened_value",
    "read_structure",
    "refusal_table",
    "register_coupling",
    "simulate",
    "twin_worlds",
]
