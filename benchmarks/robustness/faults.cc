#include "benchmarks/robustness/faults.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/base/philox.h"
#include "core/base/seed.h"

namespace swy::bench {

void NoisyStates::before(const moe::SiteSpec& spec, swy_batch& b) {
  const int64_t tokens = b.x.shape[0], width = b.x.shape[1];
  const auto* x = static_cast<const float*>(b.x.data);
  x_.resize(static_cast<size_t>(tokens * width));
  const uint64_t call = child_seed(child_seed(seed_, static_cast<uint64_t>(spec.site)), calls_);
  calls_ += spec.site == spec.n_sites - 1;
  parallel_for(tokens, 64, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* from = x + t * width;
      float* to = x_.data() + t * width;
      double squares = 0;
      for (int64_t d = 0; d < width; ++d) squares += double{from[d]} * double{from[d]};
      const auto scale = static_cast<float>(size_ * std::sqrt(squares / static_cast<double>(width)));
      Random random(child_seed(call, static_cast<uint64_t>(t)));
      for (int64_t d = 0; d < width; ++d) to[d] = from[d] + scale * random.normal();
    }
  });
  b.x.data = x_.data();
}

LostExperts::LostExperts(std::vector<std::vector<uint8_t>> lost, Mode mode, uint64_t seed)
    : lost_(std::move(lost)), mode_(mode), seed_(seed) {
  for (const auto& site : lost_)
    if (mode == Mode::kRerouted && std::find(site.begin(), site.end(), uint8_t{0}) == site.end())
      usage_error("all ", site.size(), " experts of a site are lost; nothing is left to reroute to");
}

int32_t LostExperts::left_for(const std::vector<uint8_t>& lost, int32_t row) const {
  std::vector<int32_t> left;
  for (size_t e = 0; e < lost.size(); ++e)
    if (!lost[e]) left.push_back(static_cast<int32_t>(e));
  Random random(child_seed(seed_, static_cast<uint64_t>(row)));
  return left[random.below(static_cast<uint32_t>(left.size()))];
}

void LostExperts::assign(const std::vector<uint8_t>& lost, int64_t rows, const swy_plan& p) {
  gone_.assign(static_cast<size_t>(rows), 0);
  kept_.assign(static_cast<size_t>(rows), 0);
  others_.assign(static_cast<size_t>(rows), 0);
  for (int32_t i = 0; i < *p.count; ++i) {
    const auto row = static_cast<size_t>(p.row[i]);
    if (lost[static_cast<size_t>(p.expert[i])]) {
      gone_[row] += double{p.weight[i]};
    } else {
      kept_[row] += std::fabs(double{p.weight[i]});
      ++others_[row];
    }
  }
  int32_t out = 0;
  const auto put = [&](int32_t row, int32_t expert, double weight) {
    p.row[out] = row, p.expert[out] = expert, p.weight[out] = static_cast<float>(weight), ++out;
  };
  for (int32_t i = 0; i < *p.count; ++i) {
    const int32_t expert = p.expert[i];
    const auto row = static_cast<size_t>(p.row[i]);
    const double weight = double{p.weight[i]};
    if (!lost[static_cast<size_t>(expert)]) {
      const double share = kept_[row] > 0 ? std::fabs(weight) / kept_[row] : 1.0 / others_[row];
      put(p.row[i], expert, mode_ == Mode::kRerouted ? weight + gone_[row] * share : weight);
    } else if (mode_ == Mode::kRerouted && others_[row] == 0) {
      put(p.row[i], left_for(lost, p.row[i]), gone_[row]);
      others_[row] = -1;  // its further lost entries are in this one
    }
  }
  *p.count = out;
}

void LostExperts::scale(const std::vector<uint8_t>& lost, int64_t rows, int64_t columns, int64_t per_expert,
                        float* weight) const {
  const auto experts = static_cast<int64_t>(lost.size());
  int64_t left = 0;
  for (int64_t j = 0; j < columns; ++j) left += !lost[static_cast<size_t>(j / per_expert % experts)];
  for (int64_t r = 0; r < rows; ++r) {
    float* w = weight + r * columns;
    double all = 0, kept = 0;
    for (int64_t j = 0; j < columns; ++j) {
      all += double{w[j]};
      if (lost[static_cast<size_t>(j / per_expert % experts)])
        w[j] = 0;
      else
        kept += double{w[j]};
    }
    if (mode_ == Mode::kResidual) continue;
    for (int64_t j = 0; j < columns; ++j) {
      if (lost[static_cast<size_t>(j / per_expert % experts)]) continue;
      w[j] = static_cast<float>(kept != 0 ? double{w[j]} * all / kept : all / static_cast<double>(left));
    }
  }
}

void LostExperts::after(const moe::SiteSpec& spec, const swy_needs& needs, const swy_batch& b, const swy_plan& p) {
  const std::vector<uint8_t>& lost = lost_.at(static_cast<size_t>(spec.site));
  const int64_t tokens = b.x.shape[0];
  if (needs.plan_kind == SWY_ASSIGN)
    assign(lost, std::max<int64_t>(tokens, b.n_rows), p);
  else if (needs.plan_kind == SWY_DENSE)
    scale(lost, tokens, int64_t{spec.experts} * needs.slots, needs.slots, p.combine);
  else
    scale(lost, b.n_rows, int64_t{spec.experts} * std::max(needs.mix_blocks, 1), 1, p.mix);
}

void LostExperts::lent(const moe::SiteSpec& spec, int64_t n, const int32_t* index, float* y) {
  const std::vector<uint8_t>& lost = lost_.at(static_cast<size_t>(spec.site));
  for (int64_t i = 0; i < n; ++i)
    if (index[i] >= 0 && lost[static_cast<size_t>(index[i])]) std::fill_n(y + i * spec.width, spec.width, 0.f);
}

std::vector<uint8_t> choose_lost(const std::vector<int64_t>& kept, int32_t m, Which which, uint64_t seed) {
  const auto experts = static_cast<int32_t>(kept.size());
  if (m < 0 || m > experts) usage_error("cannot lose ", m, " of ", experts, " experts");
  std::vector<int32_t> order(kept.size());
  std::iota(order.begin(), order.end(), 0);
  if (which == Which::kRandom) {
    Random random(seed);
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(static_cast<uint32_t>(i))]);
  } else {
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      const int64_t x = kept[static_cast<size_t>(a)], y = kept[static_cast<size_t>(b)];
      return which == Which::kMostUsed ? x > y : x < y;
    });
  }
  std::vector<uint8_t> lost(kept.size());
  for (int32_t i = 0; i < m; ++i) lost[static_cast<size_t>(order[static_cast<size_t>(i)])] = 1;
  return lost;
}

}  // namespace swy::bench
