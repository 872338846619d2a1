// Reads the routing of an evaluation from all sites of a workload, by image patch or token of the clean data, and the
// losses by clean target, so that those which the stress left intact can be compared with themselves. Stands between
// sites and router for as long as it lives, with a fault, if any, before it.
#pragma once
#include <vector>

#include "benchmarks/evaluate.h"
#include "benchmarks/robustness/routing_shares.h"
#include "core/moe/plan_hook.h"

namespace swy::bench {

class RoutingTap : public EvaluationObserver, public moe::PlanHook {
 public:
  // The workload outlives it, and so does `fault` (null: none). REQUIRES: show() was called on the workload.
  RoutingTap(Workload&, moe::PlanHook* fault);
  ~RoutingTap() override;
  RoutingTap(const RoutingTap&) = delete;
  RoutingTap& operator=(const RoutingTap&) = delete;

  const std::vector<RoutingShares>& shares() const { return shares_; }  // by site
  // By site the expert that a router ran by itself on each token, with weight 1, where it did so for every token (the
  // discrete path of VQMoE): their weight in the output is the router's own affair. Nothing seen: it did not.
  const std::vector<RoutingShares>& lent_shares() const { return lent_; }
  // By clean image or token: the loss of the row that has it as its target, in nats; NaN where none has.
  const std::vector<float>& losses() const { return losses_; }

  void see(const Workload&, const Scored&) override;
  bool reads_states() const override { return fault_ && fault_->reads_states(); }
  void before(const moe::SiteSpec&, swy_batch&) override;
  void after(const moe::SiteSpec&, const swy_needs&, const swy_batch&, const swy_plan&) override;
  void lent(const moe::SiteSpec&, int64_t n, const int32_t* index, float* y) override;

 private:
  void see_site(size_t site, const moe::Site&, const Scored&);
  Workload& workload_;
  moe::PlanHook* fault_;
  std::vector<RoutingShares> shares_, lent_;
  std::vector<std::vector<float>> mass_;          // by site [T, E] |weight| of the batch; empty for ASSIGN plans
  std::vector<std::vector<int32_t>> lent_index_;  // by site [T] of the batch
  int64_t tokens_ = 0;                            // T of the batch
  std::vector<float> losses_;
};

}  // namespace swy::bench
