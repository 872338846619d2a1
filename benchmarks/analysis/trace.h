// A record of who went where: for each evaluated token what is known of it (its labels) and, for each routed site, the
// experts that took it. All figures of benchmarks/analysis are pure functions of this. N tokens, E experts, D width.
//
//   labels   token id or patch position, class or domain, planted cluster, ...: any number of named columns, each with
//            a value in [0, values) for every token, or -1 where it has none
//   routing  per site the choices of token t: [begin[t], begin[t + 1]), the largest weight first; none where no expert
//            took the token. What the dispatcher kept, not what the router wished: dropped pairs are not in it
//   states   the site's input x of the first few tokens, for the figures about representations
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/moe/routed_site.h"

namespace swy::bench {

struct LabelColumn {
  std::string name;         // "token", "position", "class", "domain", "cluster", "next_token", "predicted_token"
  int32_t values = 0;       // one more than the largest value
  std::vector<int32_t> of;  // [N]
};

struct SiteRouting {
  std::string name;
  int32_t experts = 0, width = 0;
  std::vector<int64_t> begin{0};  // [N + 1]
  std::vector<int32_t> expert;    // [begin[N]]
  std::vector<float> weight;      // [begin[N]]
  std::vector<float> states;      // [M, D], M <= N

  int64_t tokens() const { return static_cast<int64_t>(begin.size()) - 1; }
  int32_t first(int64_t t) const {  // the expert with the largest weight, -1 where no expert took the token
    const auto at = static_cast<size_t>(begin[static_cast<size_t>(t)]);
    return begin[static_cast<size_t>(t) + 1] > begin[static_cast<size_t>(t)] ? expert[at] : -1;
  }
};

struct RoutingTrace {
  std::vector<LabelColumn> labels;
  std::vector<SiteRouting> sites;

  int64_t tokens() const { return sites.empty() ? 0 : sites[0].tokens(); }
  const LabelColumn* find(const std::string& name) const;
};

// The routing without states and weights, short enough to stand in a checkpoint. trace_from(routing_json(t)) has the
// same labels and choices as t. Throws Error (usage) when the document does not hold together.
Json routing_json(const RoutingTrace&);
RoutingTrace trace_from(const Json&);

// Fills a trace batch by batch:
//   recorder.begin(T, counted)         after the forward; counted [T]: 0 leaves a token out (padding, seen already)
//   recorder.label("token", ids)       every column, every batch; ids [T], -1 where a token has none
//   recorder.site(s, site.kept(), x)   every site, every batch; x [T, D] or null, tokens of `kept` index these T
// and trace() when all are in. Not thread safe; copies what it is handed.
class TraceRecorder {
 public:
  struct SiteShape {
    std::string name;
    int32_t experts, width;
  };
  // The first `tokens` counted tokens are recorded, later ones passed over, and of the first `states` the states too.
  struct Limits {
    int64_t tokens = int64_t{1} << 19, states = 4096;
  };
  TraceRecorder(const std::vector<SiteShape>& sites, Limits limits);
  TraceRecorder(const std::vector<moe::Site*>& sites, Limits limits);

  void begin(int64_t tokens, const uint8_t* counted = nullptr);
  void label(const std::string& name, const int32_t* of);
  void site(size_t index, const moe::Site::Kept& kept, const float* states = nullptr);

  int64_t tokens() const { return tokens_; }  // recorded so far
  bool full() const { return tokens_ >= limits_.tokens; }
  bool wants_states(size_t site) const;
  // Throws Error (environment) when a column or a site was left out of a batch.
  const RoutingTrace& trace() const;

 private:
  RoutingTrace trace_;
  Limits limits_;
  int64_t tokens_ = 0;
  std::vector<int64_t> counted_;  // of this batch: indices of the tokens that are recorded
};

}  // namespace swy::bench
