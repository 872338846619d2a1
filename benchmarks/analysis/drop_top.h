// What is lost when a token loses the expert its router holds to be best (LibMoE, Nguyen et al. 2024)? While one of
// these lives, the site's ASSIGN plans are combined without the `n` kept experts of largest weight of each token; the
// others keep their weights, nothing takes the empty places, and the token's residual path is as before. A router whose
// weights mean little loses little more from its best expert than from another.
#pragma once
#include <cstdint>
#include <vector>

#include "core/moe/routed_site.h"

namespace swy::bench {

class DropTop : public moe::StageObserver {
 public:
  // The site outlives it and is observed by nobody else meanwhile. For evaluation: a backward pass would see the
  // changed weights. On sites with other plans nothing is dropped.
  DropTop(moe::Site& site, int n);
  ~DropTop() override;
  void begin(moe::Stage) override;  // before the outputs are combined, when it is known what was kept
  void end(moe::Stage) override {}

 private:
  moe::Site& site_;
  int n_;
  std::vector<int64_t> order_;
  std::vector<int32_t> chosen_;
};

// Rise of the evaluation loss (nats) when all tokens lose their first, and their first two experts, at one site.
struct DropTopLoss {
  double first, first_two;
};

}  // namespace swy::bench
