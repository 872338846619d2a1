// Student's t through the regularised incomplete beta function, whose continued fraction is evaluated with Lentz's
// method (Lentz 1976; Thompson and Barnett 1986). The quantile is the root of the distribution function by bisection: a
// few dozen evaluations, and no starting value that could fail.
#include "reports/stats.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace swy::report {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// I_x(a, b) = x^a (1-x)^b / (a B(a, b)) * 1 / (1 + d1/(1 + d2/(1 + ...))), converging fast for x < (a+1)/(a+b+2).
double incomplete_beta(double a, double b, double x) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - incomplete_beta(b, a, 1 - x);
  const double front =
      std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x)) / a;
  const double tiny = 1e-300;
  double c = 1, d = 0, f = 1;
  for (int i = 0; i <= 500; ++i) {
    const int m = i / 2;
    double term = 1;
    if (i > 0) {
      term = i % 2 == 0 ? m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
                        : -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    }
    d = 1 + term * d;
    if (std::fabs(d) < tiny) d = tiny;
    d = 1 / d;
    c = 1 + term / c;
    if (std::fabs(c) < tiny) c = tiny;
    f *= c * d;
    if (std::fabs(1 - c * d) < 1e-15) break;
  }
  return front * (f - 1);
}

double t_distribution(double t, int df) {
  const double tail = 0.5 * incomplete_beta(df / 2.0, 0.5, df / (df + t * t));
  return t > 0 ? 1 - tail : tail;
}

}  // namespace

double mean(const std::vector<double>& v) {
  double sum = 0;
  for (const double x : v) sum += x;
  return v.empty() ? kNaN : sum / static_cast<double>(v.size());
}

double sample_std(const std::vector<double>& v) {
  if (v.size() < 2) return kNaN;
  const double m = mean(v);
  double sum = 0;
  for (const double x : v) sum += (x - m) * (x - m);
  return std::sqrt(sum / static_cast<double>(v.size() - 1));
}

double median(std::vector<double> v) {
  if (v.empty()) return kNaN;
  std::sort(v.begin(), v.end());
  const size_t half = v.size() / 2;
  return v.size() % 2 ? v[half] : 0.5 * (v[half - 1] + v[half]);
}

double t_quantile(double p, int df) {
  if (p < 0.5) return -t_quantile(1 - p, df);
  double low = 0, high = 1;
  while (t_distribution(high, df) < p) high *= 2;
  for (int i = 0; i < 200 && high - low > 1e-14 * high; ++i) {
    const double middle = 0.5 * (low + high);
    (t_distribution(middle, df) < p ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

Interval t_interval(const std::vector<double>& v, double confidence) {
  if (v.size() < 2) return {mean(v), kNaN};
  const int n = static_cast<int>(v.size());
  return {mean(v), t_quantile(0.5 + confidence / 2, n - 1) * sample_std(v) / std::sqrt(n)};
}

PairedDifference paired_difference(const std::vector<double>& a, const std::vector<double>& b, bool higher_is_better) {
  std::vector<double> d;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) d.push_back(a[i] - b[i]);
  const Interval interval = t_interval(d);
  Verdict verdict = Verdict::kOpen;
  if (interval.mean - interval.half > 0) verdict = higher_is_better ? Verdict::kBetter : Verdict::kWorse;
  if (interval.mean + interval.half < 0) verdict = higher_is_better ? Verdict::kWorse : Verdict::kBetter;
  return {interval, verdict};
}

}  // namespace swy::report
