#include "benchmarks/analysis/drop_top.h"

#include <algorithm>
#include <numeric>

namespace swy::bench {

DropTop::DropTop(moe::Site& site, int n) : site_(site), n_(n) { site_.observe(this); }
DropTop::~DropTop() { site_.observe(nullptr); }

void DropTop::begin(moe::Stage stage) {
  if (stage != moe::Stage::kCombine) return;
  const moe::Site::Kept kept = site_.kept();
  const auto weight = [&](int64_t i) { return kept.weight[kept.entry[i]]; };
  order_.resize(static_cast<size_t>(kept.count));
  std::iota(order_.begin(), order_.end(), int64_t{0});
  // By token, then by weight; equal weights by expert, as in a trace.
  std::sort(order_.begin(), order_.end(), [&](int64_t a, int64_t b) {
    if (kept.token[a] != kept.token[b]) return kept.token[a] < kept.token[b];
    if (weight(a) != weight(b)) return weight(a) > weight(b);
    return kept.expert[a] < kept.expert[b];
  });
  // First all are chosen, then all are dropped: tokens of one row share a weight.
  chosen_.clear();
  int32_t token = -1;
  int rank = 0;
  for (const int64_t i : order_) {
    rank = kept.token[i] == token ? rank + 1 : 0;
    token = kept.token[i];
    if (rank < n_) chosen_.push_back(kept.entry[i]);
  }
  site_.drop_entries(chosen_);
}

}  // namespace swy::bench
