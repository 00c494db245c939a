"""What `write_papers` cannot read off the docstrings: short forms, titles, what is missing."""

# Short forms of the same citation.
SAME = {
    "Aglietti et al. (2020)": "Aglietti, Lu, Paleyes and González (2020)",
    "R-loss, Schuler et al. (2018)": "Schuler et al. (2018)",
    "Vehtari et al. (2024)": "Vehtari, Simpson, Gelman, Yao and Gabry (2024)",
    "Wang, Yang and Wang (2021)": "Wang, Yang, Wang and Bareinboim (2021)",
}

# Titles where the docstrings give none; "Authors (year): title" where there are two in a year.
TITLES = {
    "Alaa and van der Schaar (2017)": (
        "Bayesian inference of individualized treatment effects using multi-task Gaussian processes"
    ),
    "Anderson and Rubin (1949)": (
        "Estimation of the parameters of a single equation in a complete system of stochastic"
        " equations"
    ),
    "Andrews, Stock and Sun (2019)": (
        "Weak instruments in instrumental variables regression: theory and practice"
    ),
    "Angrist and Imbens (1995)": (
        "Two-stage least squares estimation of average causal effects in models with variable"
        " treatment intensity"
    ),
    "Bang and Robins (2005)": (
        "Doubly robust estimation in missing data and causal inference models"
    ),
    "Bareinboim and Pearl (2013)": "A general algorithm for deciding transportability",
    "Bareinboim and Pearl (2013): Meta-transportability of causal effects": (
        "Meta-transportability of causal effects: a formal approach"
    ),
    "Bareinboim, Forney and Pearl (2015)": (
        "Bandits with unobserved confounders: a causal approach"
    ),
    "Bell and McCaffrey (2002)": (
        "Bias reduction in standard errors for linear regression with multi-stage samples"
    ),
    "Bickel, Klaassen, Ritov and Wellner (1993)": (
        "Efficient and adaptive estimation for semiparametric models"
    ),
    "Charig et al. (1986)": "Comparison of treatment of renal calculi",
    "Chernozhukov et al. (2018)": (
        "Double/debiased machine learning for treatment and structural parameters"
    ),
    "Chernozhukov et al. (2018): Generic machine learning inference": (
        "Generic machine learning inference on heterogeneous treatment effects"
    ),
    "Chernozhukov, Newey, Singh and Syrgkanis (2022)": (
        "Automatic debiased machine learning for dynamic treatment effects and general nested"
        " functionals"
    ),
    "Correa and Bareinboim (2020)": "A calculus for stochastic interventions",
    "Correa and Bareinboim (2020): General transportability of soft interventions": (
        "General transportability of soft interventions"
    ),
    "Crump et al. (2009)": (
        "Dealing with limited overlap in estimation of average treatment effects"
    ),
    "Davidson and MacKinnon (2004)": "Econometric theory and methods",
    "Ding and VanderWeele (2016)": "Sensitivity analysis without assumptions",
    "Gruber and van der Laan (2010)": (
        "A targeted maximum likelihood estimator of a causal effect on a bounded continuous outcome"
    ),
    "Hahn (1998)": (
        "On the role of the propensity score in efficient semiparametric estimation of average"
        " treatment effects"
    ),
    "Hernán and Robins (2020)": "Causal inference: what if",
    "Horvitz and Thompson (1952)": (
        "A generalization of sampling without replacement from a finite universe"
    ),
    "Imbens and Kolesár (2016)": "Robust standard errors in small samples: some practical advice",
    "Kennedy (2023)": ("Towards optimal doubly robust estimation of heterogeneous causal effects"),
    "Künzel et al. (2019)": (
        "Metalearners for estimating heterogeneous treatment effects using machine learning"
    ),
    "Li et al. (2018)": "Offline evaluation of ranking policies with click models",
    "Lunceford and Davidian (2004)": (
        "Stratification and weighting via the propensity score in estimation of causal treatment"
        " effects"
    ),
    "MacKinnon and White (1985)": (
        "Some heteroskedasticity-consistent covariance matrix estimators with improved finite"
        " sample properties"
    ),
    "Mohan, Pearl and Tian (2013)": "Graphical models for inference with missing data",
    "Nie and Wager (2021)": "Quasi-oracle estimation of heterogeneous treatment effects",
    "Pearl (1995)": "Causal diagrams for empirical research",
    "Pearl (1995): On the testability of causal models with latent and instrumental variables": (
        "On the testability of causal models with latent and instrumental variables"
    ),
    "Pearl (2009)": "Causality, second edition",
    "Perkovic et al. (2018)": (
        "Complete graphical characterization and construction of adjustment sets in Markov"
        " equivalence classes of ancestral graphs"
    ),
    "Pustejovsky and Tipton (2018)": (
        "Small-sample methods for cluster-robust variance estimation and hypothesis testing in"
        " fixed effects models"
    ),
    "Robins (1986)": "A new approach to causal inference in mortality studies",
    "Robins, Rotnitzky and Zhao (1994)": (
        "Estimation of regression coefficients when some regressors are not always observed"
    ),
    "Schuler et al. (2018)": (
        "A comparison of methods for model selection when estimating individual treatment effects"
    ),
    "Shpitser (2013)": (
        "Counterfactual graphical models for longitudinal mediation analysis with unobserved"
        " confounding"
    ),
    "Shpitser and Pearl (2006)": (
        "Identification of joint interventional distributions in recursive semi-Markovian causal"
        " models"
    ),
    "Shpitser, Mohan and Pearl (2015)": "Missing data as a causal and probabilistic problem",
    "Tchetgen Tchetgen and Shpitser (2012)": (
        "Semiparametric theory for causal mediation analysis"
    ),
    "Theil (1953)": "Repeated least-squares applied to complete equation systems",
    "Thompson (1933)": (
        "On the likelihood that one unknown probability exceeds another in view of the evidence of"
        " two samples"
    ),
    "Tian and Pearl (2002)": "A general identification condition for causal effects",
    "Tian and Pearl (2002): On the testable implications of causal models with hidden variables": (
        "On the testable implications of causal models with hidden variables"
    ),
    "van der Laan and Rubin (2006)": "Targeted maximum likelihood learning",
    "Wald (1940)": "The fitting of straight lines if both variables are subject to error",
    "Wang, Yang, Wang and Bareinboim (2021)": (
        "Provably efficient causal reinforcement learning with confounded observational data"
    ),
    "Zhang, Kumor and Bareinboim (2020)": "Causal imitation learning with unobserved confounders",
    "Zheng and van der Laan (2011)": "Cross-validated targeted minimum-loss-based estimation",
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

TO_COME = {
    "Bongers, Forré, Peters and Mooij (2021), *Foundations of structural causal models with cycles"
    " and latent variables*": "cyclic models",
    "Drton, Foygel and Sullivant (2011), *Global identifiability of linear structural equation"
    " models*": "linear identification by half-treks",
    "Kumor, Zhang and Bareinboim (2021), *Sequential causal imitation learning with unobserved"
    " confounders*": "imitation over several steps",
    "Meek (1995), *Causal inference and causal explanation with background knowledge*": "discovery",
    "Ng, Harada and Russell (1999), *Policy invariance under reward transformations*": (
        "reward shaping"
    ),
    "Spirtes, Glymour and Scheines (2000), *Causation, prediction, and search*": (
        "discovery: PC and FCI"
    ),
    "Zhang (2008), *On the completeness of orientation rules for causal discovery in the presence"
    " of latent confounders and selection bias*": "discovery: the rules of FCI",
}
