"""Distributions: beta, Student's t, chi-square, gamma; Fisher's exact test and Holm's correction."""

from __future__ import annotations

import math
from functools import lru_cache

MAX_STEPS = 500
N_STEPS = 400  # of an integral; even
TINY = 1e-300
PRECISION = 1e-16
MAX_EXPONENT = 700.0


def beta_cdf(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function, by its continued fraction.

    Source: Abramowitz and Stegun (1964), 26.5.8; evaluated by Lentz's method.

    >>> round(beta_cdf(0.5, 2.0, 3.0), 4)
    0.6875
    """
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on one side
        return 1.0 - front * _fraction(1 - x, b, a) / b
    return front * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    c, d = 1.0, 1.0 / _no_zero(1.0 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, MAX_STEPS):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / _no_zero(1.0 + step * d)
            c = _no_zero(1.0 + step / c)
            value *= c * d
        if abs(c * d - 1.0) < PRECISION:
            break
    return value


def _no_zero(x: float) -> float:
    return x if abs(x) > TINY else TINY


def beta_quantile(p: float, a: float, b: float) -> float:
    """Return the x at which `beta_cdf` is p, by Newton's method, with bisection where its steps do not get smaller.

    >>> round(beta_quantile(0.6875, 2.0, 3.0), 12)
    0.5
    """
    constant = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    low, high, last = 0.0, 1.0, 1.0
    x = a / (a + b)
    while True:
        error = beta_cdf(x, a, b) - p
        low, high = (x, high) if error < 0 else (low, x)
        density = math.exp(min(constant + (a - 1) * math.log(x) + (b - 1) * math.log1p(-x), MAX_EXPONENT))
        following = x - error / max(density, TINY)
        if not (low < following < high and abs(following - x) <= last / 2):
            following = (low + high) / 2
        last = abs(following - x)
        if following in (low, high) or last <= 4 * PRECISION * x:  # the last digit of a float
            return following
        x = following


@lru_cache(maxsize=1024)  # a table asks for the same few again and again
def t_quantile(p: float, df: float) -> float:
    """Return a quantile of Student's distribution.

    >>> round(t_quantile(0.975, 9), 4)
    2.2622
    """
    if p == 0.5:
        return 0.0
    x = beta_quantile(2 * min(p, 1 - p), df / 2, 0.5)
    t = math.sqrt(df * (1 - x) / x) if x > 0 else math.inf
    return t if p > 0.5 else -t


def t_tails(t: float, df: float) -> float:
    """Return the probability of a value of Student's distribution at least as far from 0 as t.

    >>> round(t_tails(2.2622, 9), 4)
    0.05
    """
    return beta_cdf(df / (df + t * t), df / 2, 0.5)


def f_tail(f: float, df1: float, df2: float) -> float:
    """Return the probability of a value of Fisher's F distribution of at least f.

    >>> round(f_tail(3.0, 4, 20), 4)
    0.0432
    """
    return beta_cdf(df2 / (df2 + df1 * f), df2 / 2, df1 / 2)


def _spread_density(s: float, df: float) -> float:
    """Return the density of an estimated standard deviation, over the true one."""
    if s <= 0:
        return math.sqrt(2 / math.pi) if df == 1 else 0.0
    log = (df / 2) * math.log(df / 2) - math.lgamma(df / 2) + (df - 1) * math.log(s) - df * s * s / 2
    return 2 * math.exp(log)


def _spreads(df: float) -> list[tuple[float, float]]:
    """Return values of an estimated standard deviation with their weights, by Simpson's rule."""
    reach = 8 / math.sqrt(2 * df)
    low, high = max(0.0, 1 - reach), 1 + reach
    step = (high - low) / N_STEPS
    weights = [1 if i in (0, N_STEPS) else 4 if i % 2 else 2 for i in range(N_STEPS + 1)]
    points = [low + i * step for i in range(N_STEPS + 1)]
    weighted = [(s, w * step / 3 * _spread_density(s, df)) for s, w in zip(points, weights, strict=True)]
    total = sum(w for _, w in weighted)  # 1 but for rounding
    return [(s, w / total) for s, w in weighted]


def t_power(shift: float, df: float, alpha: float) -> float:
    """Return the power of a two-sided t test for a mean that is `shift` standard errors from 0.

    It integrates normal tails over the estimated standard error: the noncentral t distribution.

    >>> round(t_power(3.0, 9, 0.05), 4)
    0.7612
    """
    t = t_quantile(1 - alpha / 2, df)

    def tails(s: float) -> float:
        return (math.erfc((t * s - shift) / math.sqrt(2)) + math.erfc((t * s + shift) / math.sqrt(2))) / 2

    return sum(w * tails(s) for s, w in _spreads(df))


def chi_square_quantile(p: float, df: float) -> float:
    """Return a quantile of the chi-square distribution, by bisection.

    >>> round(chi_square_quantile(0.95, 10), 3)
    18.307
    """
    low, high = 0.0, df + 20 * math.sqrt(2 * df) + 50
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if gamma_cdf(middle / 2, df / 2) < p else (low, middle)
    return high


def gamma_cdf(x: float, a: float) -> float:
    """Return the regularised lower incomplete gamma function, by its series; exact enough up to some thousands.

    Source: Abramowitz and Stegun (1964), 6.5.29.

    >>> round(gamma_cdf(1.0, 1.0), 4)
    0.6321
    """
    if x <= 0:
        return 0.0
    term = total = 1 / a
    n = a
    while term > total * PRECISION:
        n += 1
        term *= x / n
        total += term
    return min(1.0, total * math.exp(a * math.log(x) - x - math.lgamma(a)))


def binomial_cdf(hits: int, n: int, rate: float) -> float:
    """Return the probability of at most `hits` hits in n draws.

    >>> round(binomial_cdf(2, 10, 0.5), 4)
    0.0547
    """
    return sum(math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(hits + 1))


def fisher(hits_1: int, n_1: int, hits_2: int, n_2: int) -> float:
    """Return the two-sided p-value of Fisher's exact test of two rates.

    Source: Fisher (1935), "The logic of inductive inference": tables no likelier than the observed one.

    >>> round(fisher(3, 10, 9, 10), 4)
    0.0198
    """
    hits, n = hits_1 + hits_2, n_1 + n_2

    def likelihood(i: int) -> float:
        return math.comb(n_1, i) * math.comb(n_2, hits - i) / math.comb(n, hits)

    observed = likelihood(hits_1) * (1 + 1e-9)
    tables = range(max(0, hits - n_2), min(hits, n_1) + 1)
    return min(1.0, sum(p for i in tables if (p := likelihood(i)) <= observed))


def holm(p_values: list[float | None]) -> list[float | None]:
    """Return p-values corrected for their number; None stays, and is not counted.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure".

    >>> holm([0.01, 0.04, None, 0.03])
    [0.03, 0.06, None, 0.06]
    """
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        corrected[i] = largest
    return corrected


def benjamini_hochberg(p_values: list[float | None]) -> list[float | None]:
    """Return p-values corrected for the false discovery rate; None stays, and is not counted.

    Source: Benjamini and Hochberg (1995), Journal of the Royal Statistical Society B 57, pp. 289-300.

    >>> benjamini_hochberg([0.01, 0.04, None, 0.03])
    [0.03, 0.04, None, 0.04]
    """
    order = sorted(((p, i) for i, p in enumerate(p_values) if p is not None), reverse=True)
    corrected: list[float | None] = [None] * len(p_values)
    least = 1.0
    for rank, (p, i) in zip(range(len(order), 0, -1), order, strict=True):
        least = min(least, p * len(order) / rank)
        corrected[i] = least
    return corrected
