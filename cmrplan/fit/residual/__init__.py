"""A Gaussian process above a law: the law is the mean, and what it leaves is smooth.

The logarithm of a loss is the sum of a mean function, a smooth residual and noise. All three are one covariance, so a
prediction, its interval and the error on hidden rows follow from one factorisation.
"""
