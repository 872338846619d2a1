// What each expert really got, and the balance figures derived from it. Every router is measured here,
// never by itself. Loads are tokens per expert; "share" divides by all kept tokens.
#pragma once
#include <cstdint>
#include <vector>

namespace swy::moe {

struct Load {
  std::vector<int64_t> kept, dropped;  // [E] tokens since reset()
  int64_t tokens = 0;                  // tokens that passed the site
  int64_t unrouted = 0;                // tokens that no expert took (they pass on the residual path)
  int64_t capacity = 0;                // sum over groups of C * E: slots that were there to fill

  explicit Load(int experts = 0) : kept(experts), dropped(experts) {}
  void reset();
  void add(const Load& other);
};

struct Balance {
  std::vector<double> share;  // [E] kept_e / sum kept
  double max_violation;       // MaxVio = max_e kept_e / mean kept - 1 (Wang et al. 2024)
  double cv;                  // std / mean of kept (population std)
  double entropy;             // of share, in nats; log(E) is uniform
  double dropped_share;       // dropped entries / offered entries
  double unrouted_share;      // tokens without an expert / tokens
  double experts_per_token;   // kept / tokens: the realised activation
  int dead;                   // experts with no token since reset()
};
Balance balance(const Load&);

}  // namespace swy::moe
