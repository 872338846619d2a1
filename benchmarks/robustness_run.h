// `--robustness` in a run: the trained model of a cell under every condition of benchmarks/conditions.h. Changes
// nothing of the model; the results that a run reports without it stay the same bits.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "benchmarks/cell.h"
#include "benchmarks/conditions.h"
#include "benchmarks/evaluate.h"
#include "benchmarks/routing_tap.h"

namespace swy::bench {

class RobustnessRun {
 public:
  // The workload holds the trained model and outlives this. `early_model` may not exist.
  RobustnessRun(const Cell&, Workload&, std::filesystem::path early_model);

  // The record's "robustness": {"level", "cells": [raw results of each condition]}. Reports (done, all) after each.
  Json run(const std::function<void(size_t, size_t)>& on_progress);

 private:
  Json measure(const Condition&);
  Json evaluate(Workload&, const Condition&, moe::PlanHook* fault);
  Json with_capacity(const Condition&);
  Json with_early_router(const Condition&);
  std::unique_ptr<moe::PlanHook> fault_of(const Condition&) const;

  const Cell& cell_;
  Workload& workload_;
  std::filesystem::path early_model_;
  std::vector<moe::Load> clean_load_;  // by site, of the clean condition
  std::vector<RoutingShares> clean_, clean_lent_;
  std::vector<float> clean_losses_;  // by image or token
};

}  // namespace swy::bench
