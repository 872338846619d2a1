// Statistics over seeds: mean, sample standard deviation and Student-t intervals.
#pragma once
#include <vector>

namespace swy::report {

double mean(const std::vector<double>&);        // NaN when empty
double sample_std(const std::vector<double>&);  // divides by n - 1; NaN below two values
double median(std::vector<double>);             // NaN when empty

// The value below which a share `p` of Student's t distribution with `df` degrees of freedom lies.
// REQUIRES: 0 < p < 1, df >= 1.
double t_quantile(double p, int df);

// mean -+ half covers the true mean in `confidence` of all repetitions; half is NaN below two values.
struct Interval {
  double mean, half;
};
Interval t_interval(const std::vector<double>&, double confidence = 0.95);

// a[i] - b[i] over the same seeds. kBetter: the interval of the mean difference lies above 0 (a higher value wins when
// higher_is_better), kWorse: below, kOpen: it holds 0 or there are fewer than two pairs.
enum class Verdict { kBetter, kWorse, kOpen };
struct PairedDifference {
  Interval difference;
  Verdict verdict;
};
PairedDifference paired_difference(const std::vector<double>& a, const std::vector<double>& b, bool higher_is_better);

}  // namespace swy::report
