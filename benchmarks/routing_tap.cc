#include "benchmarks/routing_tap.h"

#include <cmath>

namespace swy::bench {
namespace {

// [T, E] |combine| summed over an expert's slots.
void add_dense(const swy_batch& b, int32_t experts, int32_t slots, const float* combine, std::vector<float>& mass) {
  for (int64_t i = 0; i < b.x.shape[0] * experts; ++i)
    for (int32_t s = 0; s < slots; ++s) mass[static_cast<size_t>(i)] += std::fabs(combine[i * slots + s]);
}

// The mixing weights of a row belong to all of its tokens.
void add_merged(const swy_batch& b, int32_t experts, int32_t blocks, const float* mix, std::vector<float>& mass) {
  for (int32_t r = 0; r < b.n_rows; ++r)
    for (int32_t t = b.row_begin[r]; t < b.row_begin[r + 1]; ++t)
      for (int32_t j = 0; j < blocks * experts; ++j)
        mass[static_cast<size_t>(t * experts + j % experts)] += std::fabs(mix[r * blocks * experts + j]);
}

}  // namespace

RoutingTap::RoutingTap(Workload& workload, moe::PlanHook* fault) : workload_(workload), fault_(fault) {
  for (moe::Site* site : workload.sites()) {
    shares_.emplace_back(site->spec().experts);
    lent_.emplace_back(site->spec().experts);
    mass_.emplace_back(), lent_index_.emplace_back();
    site->hook(this);
  }
}

RoutingTap::~RoutingTap() {
  for (moe::Site* site : workload_.sites()) site->hook(nullptr);
}

void RoutingTap::before(const moe::SiteSpec& spec, swy_batch& b) {
  tokens_ = b.x.shape[0];
  lent_index_[static_cast<size_t>(spec.site)].clear();
  if (fault_) fault_->before(spec, b);
}

void RoutingTap::lent(const moe::SiteSpec& spec, int64_t n, const int32_t* index, float* y) {
  if (n == tokens_) lent_index_[static_cast<size_t>(spec.site)].assign(index, index + n);
  if (fault_) fault_->lent(spec, n, index, y);
}

void RoutingTap::after(const moe::SiteSpec& spec, const swy_needs& needs, const swy_batch& b, const swy_plan& p) {
  if (fault_) fault_->after(spec, needs, b, p);
  if (needs.plan_kind == SWY_ASSIGN) return;  // what the dispatcher keeps of it is known later
  std::vector<float>& mass = mass_[static_cast<size_t>(spec.site)];
  mass.assign(static_cast<size_t>(b.x.shape[0] * spec.experts), 0);
  if (needs.plan_kind == SWY_DENSE)
    add_dense(b, spec.experts, needs.slots, p.combine, mass);
  else
    add_merged(b, spec.experts, std::max(needs.mix_blocks, 1), p.mix, mass);
}

void RoutingTap::see_site(size_t s, const moe::Site& site, const Scored& batch) {
  const bool by_token = batch.rows == batch.sequences * batch.tokens;
  const int64_t per_row = by_token ? 1 : batch.tokens;
  // Which token of the clean data a token of this batch is, -1: none.
  const auto token_of = [&](int64_t t) {
    const int64_t row = t / per_row;
    return batch.target[row] < 0 || batch.place[row] < 0 ? -1 : batch.place[row] * per_row + t % per_row;
  };
  RoutingShares &shares = shares_[s], &lent = lent_[s];
  const int64_t tokens = batch.sequences * batch.tokens, experts = shares.experts();
  for (int64_t t = 0; t < tokens; ++t) {
    const int64_t token = token_of(t);
    if (token < 0) continue;
    shares.see(token);
    for (int32_t e = 0; !mass_[s].empty() && e < experts; ++e)
      shares.add(token, e, mass_[s][static_cast<size_t>(t * experts + e)]);
    if (lent_index_[s].empty()) continue;
    lent.see(token);
    if (const int32_t e = lent_index_[s][static_cast<size_t>(t)]; e >= 0) lent.add(token, e, 1);
  }
  const moe::Site::Kept kept = site.kept();
  for (int64_t i = 0; i < kept.count; ++i)
    if (const int64_t token = token_of(kept.token[i]); token >= 0)
      shares.add(token, kept.expert[i], kept.weight[kept.entry[i]]);
}

void RoutingTap::see(const Workload& workload, const Scored& s) {
  for (int64_t i = 0; i < s.rows; ++i) {
    const int64_t place = s.target_place ? s.target_place[i] : s.place[i];
    if (s.target[i] < 0 || place < 0) continue;
    if (place >= static_cast<int64_t>(losses_.size())) losses_.resize(static_cast<size_t>(place) + 1, NAN);
    losses_[static_cast<size_t>(place)] = s.loss[i];
  }
  for (size_t site = 0; site < shares_.size(); ++site) see_site(site, *workload.sites()[site], s);
}

}  // namespace swy::bench
