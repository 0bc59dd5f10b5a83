"""Writes the reference values of the tests of `stat`, as SciPy computes them. Run it in this folder; it names the folder
to write to as its only argument, or writes beside itself. A test runs it where SciPy is installed, and compares."""
import math
import pathlib
import sys

import numpy as np
from scipy import stats

folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent


def number(value):
    return repr(float(value))


def write(name, text):
    (folder / f"{name}.in").write_text(text + "\n")


rows = []
for k, n, c in [(0, 59, 0.95), (1, 93, 0.95), (3, 2000, 0.99), (40, 100, 0.9), (123, 1_000_000, 0.95)]:
    rows.append(
        f"({k}, {n}, {c}, {number(stats.beta.ppf(c, k + 1, n - k))}, "
        f"{number(stats.beta.ppf(1 - c, k, n - k + 1) if k else 0)}, {number(stats.binom.cdf(k, n, 0.3))})"
    )
write("binomial", "[" + ",\n".join(rows) + "]")

sample = ([1.2, 0.9, 1.1, 1.5, 4.2, 0.8, 1.0, 1.3, 2.1, 0.95, 1.05, 1.6],)
rows = []
for ours, theirs in [("Percentile", "percentile"), ("Bca", "BCa")]:
    interval = stats.bootstrap(
        sample, np.mean, n_resamples=200_000, method=theirs, confidence_level=0.95, rng=np.random.default_rng(1)
    ).confidence_interval
    rows.append(f"(Method::{ours}, {number(interval.low)}, {number(interval.high)})")
write("bootstrap", "[" + ",\n".join(rows) + "]")

rows = []
for first, second in [
    ([1.0, 2.0, 3.0, 4.0, 5.0], [2.5, 3.5, 4.5, 5.5, 6.5]),
    ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]),
    ([1.0, 1.0, 2.0, 3.0], [2.0, 3.0, 3.0, 4.0]),
    ([0.5, 0.5, 0.5, 0.7], [0.5, 0.5, 0.7, 0.7, 0.9]),
    ([float(x * 7 % 31) for x in range(1, 16)], [float(x * 11 % 31) + 0.5 for x in range(1, 15)]),
]:
    ties = len(set(first + second)) < len(first) + len(second)
    method = stats.PermutationMethod(n_resamples=math.inf) if ties else "exact"
    greater = stats.mannwhitneyu(second, first, alternative="greater", method=method)
    both = stats.mannwhitneyu(second, first, alternative="two-sided", method=method)
    values = [f"&[{', '.join(map(number, part))}]" for part in (first, second)]
    rows.append(f"({values[0]}, {values[1]}, {number(greater.statistic)}, {number(greater.pvalue)}, {number(both.pvalue)})")
write("mann_whitney", "[" + ",\n".join(rows) + "]")

first, second = ([float(i * step % 17) for i in range(80)] for step in (3, 5))
greater = stats.mannwhitneyu(second, first, alternative="greater", method="asymptotic")
both = stats.mannwhitneyu(second, first, alternative="two-sided", method="asymptotic")
write("mann_whitney_large", f"({number(greater.statistic)}, {number(greater.pvalue)}, {number(both.pvalue)})")
