// What can go wrong inside a routed site, as hooks between the site and its router (core/moe/plan_hook.h): the router
// sees blurred states, or experts are lost after it has chosen. The router itself knows of neither.
#pragma once
#include <cstdint>
#include <vector>

#include "core/moe/plan_hook.h"

namespace swy::bench {

// The router sees x_t + size |x_t| n_t / sqrt(D), n_t standard normal: a disturbance whose expected norm relative to
// the token's is `size`. Experts get the clean x. The same tokens get the same noise in every run: it is drawn from the
// seed, the site and the token's place in the order of calls, which reset() starts again.
class NoisyStates : public moe::PlanHook {
 public:
  NoisyStates(double size, uint64_t seed) : size_(size), seed_(seed) {}
  void reset() { calls_ = 0; }
  bool reads_states() const override { return true; }
  void before(const moe::SiteSpec&, swy_batch&) override;

 private:
  double size_;
  uint64_t seed_;
  uint64_t calls_ = 0;
  std::vector<float> x_;  // [T, D]
};

// Some experts of each site are gone.
//   residual  what they would have given is missing; the token goes on with what is left of its plan
//   rerouted  ASSIGN: their weight goes to the token's other experts in proportion to their weights; a token that has
//             none goes to one of the experts that are left, drawn by row. DENSE, MERGE: the remaining weights of a
//             token are scaled up to the sum they had. Rows that a router ran on a lost expert by itself give 0 in
//             both.
class LostExperts : public moe::PlanHook {
 public:
  enum class Mode { kResidual, kRerouted };
  // lost[site][expert]: 1 = gone; of every site at least one expert is left, or nothing can be rerouted.
  LostExperts(std::vector<std::vector<uint8_t>> lost, Mode mode, uint64_t seed);
  void after(const moe::SiteSpec&, const swy_needs&, const swy_batch&, const swy_plan&) override;
  void lent(const moe::SiteSpec&, int64_t n, const int32_t* index, float* y) override;

 private:
  void assign(const std::vector<uint8_t>& lost, int64_t rows, const swy_plan&);
  void scale(const std::vector<uint8_t>& lost, int64_t rows, int64_t columns, int64_t per_expert, float* weight) const;
  int32_t left_for(const std::vector<uint8_t>& lost, int32_t row) const;

  std::vector<std::vector<uint8_t>> lost_;
  Mode mode_;
  uint64_t seed_;
  std::vector<double> gone_, kept_;  // [R] weight of a row's lost entries, |weight| of the others
  std::vector<int32_t> others_;      // [R] how many others
};

// m of E experts by their load, ties to the lower index.
enum class Which { kMostUsed, kLeastUsed, kRandom };
std::vector<uint8_t> choose_lost(const std::vector<int64_t>& kept, int32_t m, Which which, uint64_t seed);

}  // namespace swy::bench
