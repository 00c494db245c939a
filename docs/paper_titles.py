"""What `write_papers` cannot read off the docstrings: short forms, and what is missing."""

# Short forms of the same citation.
SAME = {
    "Aglietti et al. (2020)": "Aglietti, Lu, Paleyes and González (2020)",
    "R-loss, Schuler et al. (2018)": "Schuler et al. (2018)",
    "Vehtari et al. (2024)": "Vehtari, Simpson, Gelman, Yao and Gabry (2024)",
    "Wang, Yang and Wang (2021)": "Wang, Yang, Wang and Bareinboim (2021)",
}

# Papers of which something that a reader may look for is not here.
PARTLY = {
    "Bareinboim, Tian and Pearl (2014)": "sound; how far complete, its function's docstring says",
    "Brito and Pearl (2002)": "instrumental sets are checked, not searched for",
    "Mohan and Pearl (2021)": "a class of problems, named in the docstring",
    "Wang, Yang, Wang and Bareinboim (2021)": "tables instead of linear models",
    "Zhang, Kumor and Bareinboim (2020)": "back-door sets; surrogates as the docstring says",
    "Zhang and Bareinboim (2017)": "the setting; not the algorithm",
}

# Sources of data in data and examples that are no papers on method.
SKIPPED = {"Ferro, Pina, Severo, Dias, Botelho and Lunet (2015)", "Thompson (2019)"}

# What is not here yet, by key in `references.bib`.
TO_COME = {
    "bongers2021foundations": "cyclic models",
    "drton2011global": "linear identification by half-treks",
    "kumor2021sequential": "imitation over several steps",
    "meek1995causal": "discovery",
    "ng1999policy": "reward shaping",
    "spirtes2000causation": "discovery: PC and FCI",
    "zhang2008completeness": "discovery: the rules of FCI",
}
