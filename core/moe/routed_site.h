// What all routed places have in common for those who only look at them: models, training loops, metrics.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "core/moe/router_at_site.h"

namespace swy::moe {

class Site {
 public:
  virtual ~Site() = default;
  Site(const Site&) = delete;
  Site& operator=(const Site&) = delete;

  // After the optimiser step: tells the router what load it caused.
  void update(const Exec& ex, const StepInfo& info) { router_.update(ex, info); }

  // For a host that records training steps on a device (RouterAtSite).
  void begin_step(const Exec& ex, const StepInfo& info) { router_.begin_step(ex, info); }
  bool steady() const { return router_.steady(); }

  const SiteSpec& spec() const { return router_.spec; }
  const swy_router& router() const { return router_.router(); }
  const swy_needs& needs() const { return router_.needs; }
  // Why a later token can change an earlier one's result in that phase (rule R14). Null: it cannot, which is a promise
  // of routers with SWY_CAP_CAUSAL only.
  const char* acausal(int32_t phase) const {
    return phase == SWY_TRAIN ? router_.needs.acausal_train : router_.needs.acausal_score;
  }
  // Accumulates over forwards until reset; on a device as of the last drain().
  Load& load() { return router_.load; }
  // Brings to the host what passes on a device have left there since the last time: load, auxiliary losses, metrics,
  // and the work that depends on kept rows, which is charged to the tally. It is counted there as it is run (a replayed
  // graph counts again) and nowhere else, so whoever compares FLOPs with a budget asks here first, at the end of a step
  // or an evaluation. Waits. Nothing to do for calls on the CPU.
  void drain(const Exec& ex) { drain(ex, {this}); }
  static void drain(const Exec&, const std::vector<Site*>&);  // all with one transfer where they share an arena
  const std::vector<std::string>& aux_names() const { return router_.aux_names; }
  // [n_aux] of the last forward; on a device as of the last drain()
  const float* aux_values() const { return router_.memory.aux(); }
  double aux_loss() const {  // their weighted sum
    double sum = 0;
    for (size_t i = 0; i < aux_names().size(); ++i) sum += double{router_.aux_weights[i]} * double{aux_values()[i]};
    return sum;
  }
  const std::vector<std::string>& metric_names() const { return router_.metric_names; }
  const float* metric_values() const { return router_.memory.metric(); }  // [n_metrics], the same

  // The pairs kept from the last forward's ASSIGN plan, packed by expert, for analysis and tests; none for other plans.
  struct Kept {
    int64_t count;
    const int32_t *token, *expert, *entry;  // [count]; entry: place in the plan's list
    const float* weight;                    // by entry
  };
  virtual Kept kept() const = 0;
  // Sets the weights of these entries of the last forward's list to 0, for observers that ask what a forward is without
  // them: what Stage::kCombine finds there is what counts. Waits for a device.
  void drop_entries(const std::vector<int32_t>& entries);
  // x [T, D] that the site got in the last forward: the model's own, overwritten by its next pass. Of a forward on a
  // device a copy on the host, made now; waits.
  const float* states();

  void hook(PlanHook* hook) { router_.hook = hook; }                      // null: nobody; outlives its calls
  void observe(StageObserver* observer) { router_.observer = observer; }  // null: nobody; outlives what it sees

 protected:
  Site(SiteSpec spec, Instance& router, Params& params, Arena& arena)
      : router_(std::move(spec), router, params, arena) {}
  // Charges what the site's parts have counted on a device, as of the arena's last fetch().
  virtual void charge_done(const Exec&) {}
  RouterAtSite router_;

 private:
  std::vector<float> on_host_;  // of a device: what was asked for last
};

}  // namespace swy::moe
