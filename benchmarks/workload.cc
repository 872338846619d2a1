#include "benchmarks/workload.h"

#include <algorithm>
#include <numeric>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/plugin/loader.h"

namespace swy::bench {

const Modality& modality(const std::string& kind) {
  if (kind == "lm") return language_modality();
  return vision_modality();
}

std::unique_ptr<Instance> make_router_instance(const Suite& cell, size_t sites) {
  const RouterEntry& router = cell.routers.at(0);
  if (router.id == kNoRouter) return nullptr;
  return std::make_unique<Instance>(*find_router(router.id).router, router.options, static_cast<int32_t>(sites));
}

std::vector<int64_t> reordered(const std::string& how, int64_t n, uint64_t seed) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  if (how == "reversed") {
    std::reverse(order.begin(), order.end());
  } else if (how == "shuffled") {
    Random random(seed);
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(static_cast<uint32_t>(i))]);
  } else {
    usage_error("unknown order '", how, "'; known: reversed, shuffled");
  }
  return order;
}

void require_one_step(const Suite& suite, double flops, double units) {
  const bool by_units = suite.train_units > 0;
  const double asked = by_units ? suite.train_units : suite.train_flops, least = by_units ? units : flops;
  if (asked >= least) return;
  if (by_units) {
    usage_error("a budget of ", asked, " training ", suite.unit(), "s does not pay for one step, which takes ", least,
                "; raise budget.train_", suite.unit(), "s or make the batch smaller");
  }
  usage_error("a budget of ", asked, " training FLOPs does not pay for one step, which takes more than ", least,
              "; raise budget.train_flops (--budget) or make model or batch smaller");
}

}  // namespace swy::bench
