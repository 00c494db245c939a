"""Diagrams of causal models and what can be read off them.

Where a function's first argument is a diagram, its text (``"X -> Y; X <-> Y"``) or an `SCM` will
do as well.

================================ ============================================== ====================
name                             what it does                                   paper
================================ ============================================== ====================
``ADMG``                         acyclic directed mixed graph; relatives,       Richardson 2003
                                 districts, ``do``, text form
``is_separated``                 m-separation, in linear time                   Richardson 2003
``find_open_path``, ``Path``     the witness that two sets are not separated
``is_separable``                 is there a separating set at all?              Verma, Pearl 1990
``find_minimal_separator``       one minimal separating set, in linear time     van der Zander,
                                                                                Liskiewicz 2019
``minimal_separators``           all of them, with polynomial delay             Takata 2010
``implied_independences``,       one independence per separable pair
``Independence``
``districts``, ``district_of``   parts held together by ``<->``                 Tian, Pearl 2002
``latent_projection``            forget nodes                                   Verma, Pearl 1990
``canonical_dag``                latent causes drawn as nodes                   Richardson,
                                                                                Spirtes 2002
``twin_network``                 several worlds in one diagram, noise shared    Balke, Pearl 1994;
                                                                                Shpitser, Pearl 2007
``swig``                         node splitting                                 Richardson,
                                                                                Robins 2013
``selection_diagram``,           where populations differ, drawn as nodes       Bareinboim,
``shifted_variables``                                                           Pearl 2013
``is_s_admissible``,             covariates by which an effect is transported   Pearl,
``find_s_admissible_set``,                                                      Bareinboim 2011
``s_admissible_sets``
``from_networkx``,               networkx and back
``to_networkx``
``from_dot``, ``to_dot``         Graphviz's language and back
``from_dagitty``,                dagitty's text and back; roles of nodes        Textor et al. 2016
``parse_dagitty``,
``to_dagitty``, ``DagittyModel``
``from_arrays``, ``to_arrays``   adjacency matrices and back
``random_admg``                  a random diagram
``back_door``, ``bow``,          diagrams with names                            in their docstrings
``front_door``, ``instrument``,
``m_bias``, ``napkin``,
``verma``
``to_svg``, ``draw``             pictures, without Graphviz                     Sugiyama et al. 1981
``MixedGraph``, ``Nodes``        what all kinds of diagrams share
================================ ============================================== ====================
"""

from causalppl.graphs.admg import ADMG
from causalppl.graphs.components import district_of, districts
from causalppl.graphs.convert import (
    DagittyModel,
    from_arrays,
    from_dagitty,
    from_dot,
    from_networkx,
    parse_dagitty,
    to_arrays,
    to_dagitty,
    to_dot,
    to_networkx,
)
from causalppl.graphs.drawing import draw, to_svg
from causalppl.graphs.generators import (
    back_door,
    bow,
    front_door,
    instrument,
    m_bias,
    napkin,
    random_admg,
    verma,
)
from causalppl.graphs.mixed import MixedGraph, Nodes
from causalppl.graphs.projection import canonical_dag, latent_projection
from causalppl.graphs.selection import (
    find_s_admissible_set,
    is_s_admissible,
    s_admissible_sets,
    selection_diagram,
    shifted_variables,
)
from causalppl.graphs.separation import (
    Independence,
    Path,
    find_minimal_separator,
    find_open_path,
    implied_independences,
    is_separable,
    is_separated,
    minimal_separators,
)
from causalppl.graphs.worlds import swig, twin_network

__all__ = [
    "ADMG",
    "DagittyModel",
    "Independence",
    "MixedGraph",
    "Nodes",
    "Path",
    "back_door",
    "bow",
    "canonical_dag",
    "district_of",
    "districts",
    "draw",
    "find_minimal_separator",
    "find_open_path",
    "find_s_admissible_set",
    "from_arrays",
    "from_dagitty",
    "from_dot",
    "from_networkx",
    "front_door",
    "implied_independences",
    "instrument",
    "is_s_admissible",
    "is_separable",
    "is_separated",
    "latent_projection",
    "m_bias",
    "minimal_separators",
    "napkin",
    "parse_dagitty",
    "random_admg",
    "s_admissible_sets",
    "selection_diagram",
    "shifted_variables",
    "swig",
    "to_arrays",
    "to_dagitty",
    "to_dot",
    "to_networkx",
    "to_svg",
    "twin_network",
    "verma",
]
