// A router at one site, whatever is routed there: its tensors, the memory of its calls, its plan, its backward call,
// and the book of the load it caused. What a site kind adds is what it does with the plan.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/device/exec.h"
#include "core/device/move.h"
#include "core/device/params.h"
#include "core/device/profiler_range.h"
#include "core/device/sums.h"
#include "core/moe/call_memory.h"
#include "core/moe/cuda.h"
#include "core/moe/hook_on_device.h"
#include "core/moe/load.h"
#include "core/moe/plan_hook.h"
#include "core/moe/site.h"
#include "core/plugin/instance.h"

namespace swy::moe {

// The parts of a pass, in the order forward goes through them; backward goes the other way. For measurement.
enum class Stage { kRouter, kDispatch, kExperts, kCombine };
constexpr const char* name_of(Stage s) {
  constexpr const char* names[] = {"router", "dispatch", "experts", "combine"};
  return names[static_cast<int>(s)];
}
class StageObserver {
 public:
  virtual ~StageObserver() = default;
  virtual void begin(Stage) = 0;
  virtual void end(Stage) = 0;
};

class RouterAtSite {
 public:
  // Asks the router for its needs, declares its tensors in `params` and reserves the memory of its calls in `arena`;
  // both are committed by the caller before the first step. Throws Error when the router refuses the site or asks for
  // what the site does not offer.
  RouterAtSite(SiteSpec spec, Instance& router, Params& params, Arena& arena);
  RouterAtSite(const RouterAtSite&) = delete;
  RouterAtSite& operator=(const RouterAtSite&) = delete;

  const SiteSpec spec;
  const swy_site site;
  const swy_needs needs;
  const CallMemory memory;
  std::vector<std::string> aux_names, metric_names;
  std::vector<float> aux_weights;
  Load load, recent;  // since reset(); of the last forward. On a device `recent` is empty and settle() adds to `load`
  StageObserver* observer = nullptr;
  PlanHook* hook = nullptr;        // null: nobody
  SiteExperts* experts = nullptr;  // what the router may run by itself; null: nothing
  const float* states = nullptr;   // x of the last forward, for as long as the model keeps it
  int64_t state_rows = 0;          // its T

  // ---- training steps on a device ----
  // Enqueues what a recorded step will find there in place of its own number: the seed of this step's calls. Once per
  // step, before it; the same Exec as the step's.
  void begin_step(const Exec&, const StepInfo&);
  // Whether one recorded training step is any other: the router claims it, whatever its noise.
  bool steady() const { return router().caps & SWY_CAP_GRAPH_CAPTURE && needs.flags & SWY_STEADY; }

  // ---- forward ----
  // The router's plan for this batch; starts `recent` afresh for the dispatchers to add to.
  swy_plan plan(const Exec&, const StepInfo&, const swy_batch&);
  void book(const Exec&, const StepInfo&, const swy_batch&, int64_t real_tokens);  // `recent` has happened
  LoadOnDevice recent_on_device() const { return {arena_.as<int64_t>(device_recent_), spec.experts}; }

  // Who looks at calls like this one: the hook, or what carries them to it from a device.
  PlanHook* hook_of(const Exec&);

  // ---- backward ----
  // The router's own backward pass from dL/dplan, which the dispatchers left in `memory`; in training the auxiliary
  // losses too, which no other phase has (attacks differentiate the model as it is used). Adds into its gradients and
  // into dx and dresidual [T, D]; dresidual may be null when the router does not read the residual stream.
  void backward(const Exec&, const StepInfo&, const swy_batch&, const swy_plan&, float* dx, float* dresidual);

  // Adds to `load` what forwards on a device have booked since the last time, as of the arena's last fetch().
  void settle();
  Arena& arena() const { return arena_; }
  Stream* stream() const { return stream_; }  // of the last forward; null: it ran on the CPU

  const swy_router& router() const { return router_.router(); }

  void update(const Exec&, const StepInfo&);  // after the optimiser step: tells the router what load it caused

  // Profilers see it as a range in that of its pass.
  template <class Body>
  void stage(Stage s, Body&& body) {
    const ProfilerRange range(name_of(s));
    if (observer) observer->begin(s);
    body();
    if (observer) observer->end(s);
  }

 private:
  void declare();
  const uint64_t* seed_of(const Exec&, const StepInfo&);
  swy_state state();
  Instance& router_;
  Params& params_;
  Arena& arena_;
  std::vector<int> params_of_, buffers_of_;  // handles in params_
  std::vector<swy_tensor> param_, grad_, buffer_;
  std::vector<float> no_aux_;                          // [n_aux] zeros
  std::vector<int32_t> untold_kept_, untold_dropped_;  // what the router has not been told in update() yet
  int64_t untold_tokens_ = 0;
  // On a device: `recent`; [2 E] what update() has not been told, kept and dropped; a LoadSums.
  int device_recent_, device_untold_;
  DeviceSums<double> device_total_;
  Stream* stream_ = nullptr;
  std::optional<HookOnDevice> carried_;
  std::optional<Mirror<uint64_t>> seed_;  // once begin_step() was called
  int64_t seed_step_ = -1;
};

}  // namespace swy::moe
