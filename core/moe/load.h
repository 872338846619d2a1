// What each expert really got, and the balance figures derived from it. Every router is measured here,
// never by itself. Loads are tokens per expert; "share" divides by all kept tokens. E experts, N tokens, k experts for
// each token, so that N k entries are kept.
#pragma once
#include <cstdint>
#include <vector>

namespace swy::moe {

struct Load {
  std::vector<int64_t> kept, dropped;  // [E] tokens since reset()
  int64_t tokens = 0;                  // tokens that passed the site
  int64_t unrouted = 0;                // tokens that no expert took (they pass on the residual path)
  int64_t capacity = 0;                // sum over groups of C * E: slots that were there to fill
  int64_t forwards = 0;                // forwards booked in which an expert took something
  double violations = 0;               // sum of their MaxVio, each of its own loads

  explicit Load(int experts = 0) : kept(experts), dropped(experts) {}
  void reset();
  void add(const Load& other);
  void book(const Load& forward);  // adds the load of one forward, and its MaxVio
};

struct Balance {
  std::vector<double> share;     // [E] kept_e / sum kept
  double max_violation;          // MaxVio = max_e kept_e / mean kept - 1, in [0, E / k - 1] (Wang et al. 2024)
  double min_violation;          // MinVio = 1 - min_e kept_e / mean kept, in [0, 1]; 1 as soon as an expert is dead
  double mean_violation;         // AvgVio = mean_e |kept_e / mean kept - 1|
  double max_violation_forward;  // mean over forwards of the MaxVio of each: what one batch's devices wait for
  double violation_floor;        // violation_floor() of what was kept: MaxVio of no more than this says nothing
  double violation_chance;       // violation_chance(): the same without the asymptotic formula's excess
  double cv;                     // std / mean of kept (population std)
  double gini;                   // mean |kept_i - kept_j| / (2 mean kept): 0 = equal, 1 - 1 / E = one has all
  double min_max_ratio;          // min kept / max kept
  double entropy;                // of share, in nats; log(E) is uniform
  double entropy_share;          // entropy / log(E), in [0, 1]; 1 for E = 1
  double perplexity_share;       // exp(entropy) / E: share of the experts that are as good as used, in [1 / E, 1]
  double top_share;              // of all kept, what the ceil(E / 5) busiest experts took
  double bottom_share;           // of all kept, what the ceil(E / 5) idlest experts took
  double dropped_share;          // dropped entries / offered entries
  double unrouted_share;         // tokens without an expert / tokens
  double slot_utilisation;       // kept / slots that were there; dropless sites have far more slots than tokens
  double experts_per_token;      // kept / tokens: the realised activation
  int dead;                      // experts with no token since reset(): the window is `tokens` of the Load
};
Balance balance(const Load&);

// exp(entropy of the shares) of non-negative counts: how many of them are as good as used; 0 when all are 0.
double usage_perplexity(const std::vector<int64_t>& counts);

// What MaxVio comes to by chance alone when every token draws its k experts uniformly: with that, a MaxVio is no sign
// of imbalance. 0 where it has no meaning (E < 2, nothing kept).
//   floor   sqrt(2 E ln E / (N k))                       asymptotic, the figure people quote
//   chance  m_E sqrt(E (E - k) / ((E - 1) N k))          m_E = E[max of E standard normals]
// The floor takes sqrt(2 ln E) for m_E, an upper bound reached only slowly (measured: 40 % too much at E = 8, 20 % at
// 64), and leaves out that k distinct experts vary less than k free draws (90 % too much at E = 8, k = 4; where k = E
// the truth is 0). `chance` has both right: measured within 5 % from 50 tokens per expert. With fewer the loads are
// skewed and the truth lies above it (12 % at 10 tokens per expert and E = 64, 20 % at 2). Neither knows of capacities:
// dropped tokens make MaxVio smaller.
double violation_floor(int experts, int64_t kept);
double violation_chance(int experts, int64_t tokens, int64_t kept);

}  // namespace swy::moe
