#include "benchmarks/analysis/collapse.h"

#include <algorithm>
#include <cmath>
#include <opencv2/core.hpp>

namespace swy::bench {
namespace {

// Eigenvalues, largest first, and with vectors != null the eigenvectors as rows [n, n] of a symmetric matrix.
std::vector<double> eigenvalues(const std::vector<double>& matrix, int n, std::vector<double>* vectors = nullptr) {
  const cv::Mat a(n, n, CV_64F, const_cast<double*>(matrix.data()));  // read only
  cv::Mat values, rows;
  cv::eigen(a, values, rows);
  if (vectors)
    vectors->assign(rows.ptr<double>(), rows.ptr<double>() + static_cast<size_t>(n) * static_cast<size_t>(n));
  return {values.ptr<double>(), values.ptr<double>() + n};
}

}  // namespace

// Sigma_B = M M^T with columns sqrt(N_c/N) (mu_c - mu), M = U S V^T. So Sigma_B^+ = U S^-2 U^T, and
// RC = sum_j s_j^-2 u_j^T Sigma_W u_j, where V and S come from the small matrix M^T M [E, E] and
// u_j^T Sigma_W u_j is the mean square of u_j . (h_i - mu_c): no D x D matrix is needed.
double representation_collapse(const float* x, const int32_t* expert, int64_t n, int32_t d, int32_t experts) {
  const auto width = static_cast<size_t>(d), classes = static_cast<size_t>(experts);
  std::vector<double> centre(classes * width), whole(width), count(classes);
  double total = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (expert[i] < 0) continue;
    const auto c = static_cast<size_t>(expert[i]);
    ++count[c], ++total;
    for (size_t j = 0; j < width; ++j)
      centre[c * width + j] += static_cast<double>(x[static_cast<size_t>(i) * width + j]);
  }
  if (std::count_if(count.begin(), count.end(), [](double c) { return c > 0; }) < 2) return std::nan("");
  for (size_t c = 0; c < classes; ++c) {
    for (size_t j = 0; j < width; ++j) {
      whole[j] += centre[c * width + j] / total;
      if (count[c] > 0) centre[c * width + j] /= count[c];
    }
  }
  std::vector<double> between(classes * width), gram(classes * classes), v;  // between: M^T
  for (size_t c = 0; c < classes; ++c)
    for (size_t j = 0; j < width; ++j)
      between[c * width + j] = std::sqrt(count[c] / total) * (centre[c * width + j] - whole[j]);
  for (size_t a = 0; a < classes; ++a)
    for (size_t b = 0; b < classes; ++b)
      for (size_t j = 0; j < width; ++j) gram[a * classes + b] += between[a * width + j] * between[b * width + j];
  const std::vector<double> squares = eigenvalues(gram, experts, &v);

  // The columns of M sum to 0 when weighted, so at most E - 1 directions are real; the rest is rounding.
  std::vector<double> directions;  // [rank, D], u_j / s_j
  for (size_t r = 0; r < classes && squares[r] > 1e-10 * squares[0]; ++r) {
    for (size_t j = 0; j < width; ++j) {
      double u = 0;
      for (size_t c = 0; c < classes; ++c) u += v[r * classes + c] * between[c * width + j];
      directions.push_back(u / squares[r]);
    }
  }
  double collapse = 0;
  std::vector<double> offset(width);
  for (int64_t i = 0; i < n; ++i) {
    if (expert[i] < 0) continue;
    const double* mu = centre.data() + static_cast<size_t>(expert[i]) * width;
    for (size_t j = 0; j < width; ++j) offset[j] = static_cast<double>(x[static_cast<size_t>(i) * width + j]) - mu[j];
    for (size_t r = 0; r < directions.size() / width; ++r) {
      double along = 0;
      for (size_t j = 0; j < width; ++j) along += directions[r * width + j] * offset[j];
      collapse += along * along / total;
    }
  }
  return directions.empty() ? std::nan("") : collapse;
}

double effective_rank(const float* x, int64_t n, int64_t d) {
  const bool tall = n >= d;  // the smaller Gram matrix has the same singular values
  const auto size = static_cast<size_t>(tall ? d : n), length = static_cast<size_t>(tall ? n : d);
  std::vector<double> gram(size * size), row(size);
  for (size_t l = 0; l < length; ++l) {
    for (size_t i = 0; i < size; ++i) row[i] = static_cast<double>(tall ? x[l * size + i] : x[i * length + l]);
    for (size_t i = 0; i < size; ++i)
      for (size_t j = 0; j < size; ++j) gram[i * size + j] += row[i] * row[j];
  }
  std::vector<double> s = eigenvalues(gram, static_cast<int>(size));
  double sum = 0, entropy = 0;
  // Squares below the rounding of the largest are 0, or their roots would count as singular values.
  for (double& value : s) value = value > 1e-13 * s[0] ? std::sqrt(value) : 0;
  for (const double value : s) sum += value;
  if (sum <= 0) return std::nan("");
  for (const double value : s)
    if (value > 0) entropy -= value / sum * std::log(value / sum);
  return std::exp(entropy);
}

std::vector<double> centred_gram(const float* x, int64_t n, int64_t d, Kernel kernel, Centring centring) {
  const auto size = static_cast<size_t>(n), width = static_cast<size_t>(d);
  std::vector<double> k(size * size), mean(size);
  // Linear: taking the mean row off first keeps digits, and changes nothing after centring.
  std::vector<double> row(x, x + size * width), middle(width);
  for (size_t i = 0; i < size; ++i)
    for (size_t j = 0; j < width; ++j) middle[j] += row[i * width + j] / static_cast<double>(n);
  double raw = 0, rest = 0;
  for (size_t i = 0; i < size; ++i) {
    for (size_t j = 0; j < width; ++j) {
      double& value = row[i * width + j];
      raw += value * value;
      value -= middle[j];
      rest += value * value;
    }
  }
  if (rest <= 1e-20 * raw) return k;  // equal rows but for rounding: nothing to compare
  for (size_t a = 0; a < size; ++a) {
    for (size_t b = 0; b <= a; ++b) {
      double sum = 0;
      for (size_t j = 0; j < width; ++j) {
        const double p = row[a * width + j], q = row[b * width + j];
        sum += kernel == Kernel::kLinear ? p * q : (p - q) * (p - q);
      }
      k[a * size + b] = k[b * size + a] = sum;
    }
  }
  if (kernel == Kernel::kRbf) {
    std::vector<double> distance;
    for (size_t a = 0; a < size; ++a)
      for (size_t b = 0; b < a; ++b) distance.push_back(k[a * size + b]);
    const auto median = distance.begin() + static_cast<int64_t>(distance.size() / 2);
    std::nth_element(distance.begin(), median, distance.end());
    const double bandwidth = 0.25 * *median;  // of squared distances
    for (double& value : k) value = bandwidth > 0 ? std::exp(-value / (2 * bandwidth)) : 1;
  }
  // Both centrings make every row and column sum to 0;
  // the debiased one leaves the diagonal out, where a row meets itself.
  const bool debiased = centring == Centring::kDebiased;
  const double of_rows = debiased ? static_cast<double>(n - 2) : static_cast<double>(n);
  const double of_all = debiased ? static_cast<double>((n - 1) * (n - 2)) : static_cast<double>(n * n);
  double all = 0;
  for (size_t a = 0; a < size; ++a) {
    if (debiased) k[a * size + a] = 0;
    for (size_t b = 0; b < size; ++b) mean[a] += k[a * size + b];
    all += mean[a];
  }
  for (size_t a = 0; a < size; ++a)
    for (size_t b = 0; b < size; ++b)
      k[a * size + b] = debiased && a == b ? 0 : k[a * size + b] - (mean[a] + mean[b]) / of_rows + all / of_all;
  return k;
}

double similarity(const std::vector<double>& a, const std::vector<double>& b) {
  double aa = 0, bb = 0, ab = 0;
  for (size_t i = 0; i < a.size(); ++i) aa += a[i] * a[i], bb += b[i] * b[i], ab += a[i] * b[i];
  return aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : std::nan("");
}

namespace {

// Mean over pairs of experts, pairs without a figure left out; NaN when none has one.
template <class Of>
double mean_over_pairs(int32_t experts, Of&& of) {
  double sum = 0;
  int64_t pairs = 0;
  for (int32_t a = 0; a < experts; ++a) {
    for (int32_t b = 0; b < a; ++b) {
      const double value = of(a, b);
      if (std::isnan(value)) continue;
      sum += value, ++pairs;
    }
  }
  return pairs ? sum / static_cast<double>(pairs) : std::nan("");
}

double weight_cosine(const std::vector<ExpertProbe::Tensor>& tensors, int32_t a, int32_t b) {
  double aa = 0, bb = 0, ab = 0;
  for (const ExpertProbe::Tensor& t : tensors) {
    const float *p = t.value + a * t.size, *q = t.value + b * t.size;
    for (int64_t i = 0; i < t.size; ++i) {
      const auto u = static_cast<double>(p[i]), w = static_cast<double>(q[i]);
      aa += u * u, bb += w * w, ab += u * w;
    }
  }
  return aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : std::nan("");
}

}  // namespace

ExpertLikeness expert_likeness(const ExpertProbe& probe, int32_t experts, const float* x, int64_t n, int32_t width) {
  ExpertLikeness result{std::nan(""), std::nan(""), std::nan(""), std::nan("")};
  result.cosine = mean_over_pairs(experts, [&](int32_t a, int32_t b) { return weight_cosine(probe.weights, a, b); });
  const int64_t rows = std::min(n, kProbeRows);
  if (!probe.run || rows < 4) return result;
  std::vector<std::vector<double>> plain, debiased;  // [E][n, n]
  double rank = 0;
  int32_t ranked = 0;
  std::vector<float> y(static_cast<size_t>(rows * width));
  for (int32_t e = 0; e < experts; ++e) {
    probe.run(e, rows, x, y.data());
    plain.push_back(centred_gram(y.data(), rows, width, Kernel::kLinear, Centring::kPlain));
    debiased.push_back(centred_gram(y.data(), rows, width, Kernel::kLinear, Centring::kDebiased));
    const double r = effective_rank(y.data(), rows, width);
    if (!std::isnan(r)) rank += r, ++ranked;
  }
  const auto of = [](const std::vector<std::vector<double>>& gram) {
    return [&gram](int32_t a, int32_t b) {
      return similarity(gram[static_cast<size_t>(a)], gram[static_cast<size_t>(b)]);
    };
  };
  result.cka = mean_over_pairs(experts, of(plain));
  result.cka_debiased = mean_over_pairs(experts, of(debiased));
  if (ranked > 0) result.effective_rank = rank / ranked;
  return result;
}

}  // namespace swy::bench
