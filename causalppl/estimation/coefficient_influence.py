"""How each row moves an answer through the coefficients of a regression without penalty."""

import numpy as np

from causalppl.estimation.estimate import Array

__all__ = ["class_curvature", "coefficient_influence", "with_constant"]


def coefficient_influence(
    matrix: Array,
    rows: Array,
    residual: Array,
    curvature: Array,
    slope: Array,
    *,
    corrected: bool = False,
) -> Array:
    """How each row moves a number through the coefficients of a regression.

    Args:
        matrix: Shape ``(rows, columns)``, with the constant.
        rows: The weight of each row in the fit; 0 for those not used.
        residual: Shape ``(rows, equations)``: of a linear regression one, of a logistic one for
            each class but the first.
        curvature: Shape ``(rows, equations, equations)``: the derivative of the fitted values by
            the linear predictors; ones for a linear regression.
        slope: Shape ``(equations, columns)``: the derivative of the number by the coefficients.
        corrected: Divide residuals by the root of one minus the leverage, for one equation.

    Returns:
        Shape ``(rows,)``.

    References:
        White (1980); MacKinnon and White (1985) for the correction, HC2; Stefanski and Boos (2002).
    """
    each = range(len(slope))
    weights = curvature * (rows / len(matrix))[:, None, None]
    bread = np.block([[(matrix.T * weights[:, j, k]) @ matrix for k in each] for j in each])
    inverse = np.linalg.pinv(bread, hermitian=True)
    moved = matrix @ (inverse @ slope.reshape(-1)).reshape(slope.shape).T
    if corrected and residual.shape[1] == 1:
        leverage = np.einsum("ni,ij,nj->n", matrix, inverse, matrix) / len(matrix)
        leverage *= curvature[:, 0, 0] * rows
        residual = residual / np.sqrt(np.maximum(1 - leverage, 1e-6))[:, None]
    return np.asarray(rows * (moved * residual).sum(1))


def class_curvature(probabilities: Array) -> Array:
    """The derivative of class probabilities by their linear predictors, ``(rows, k, k)``."""
    k = probabilities.shape[1]
    return probabilities[:, :, None] * (np.eye(k) - probabilities[:, None, :])


def with_constant(matrix: Array) -> Array:
    """Put a column of ones first."""
    return np.concatenate([np.ones((len(matrix), 1)), matrix], 1)
