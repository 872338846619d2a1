// Someone who stands between a site and its router in evaluations: looks at what the router is shown and at the plan it
// makes, and may change both. So tokens can be disturbed, experts lost and mixing weights read without any router or
// model knowing of it. All pointers are the host's. Backward knows nothing of a hook: a changed forward must not be
// followed by one.
#pragma once
#include <cstdint>

#include "core/abi/router.h"
#include "core/moe/site.h"

namespace swy::moe {

class PlanHook {
 public:
  virtual ~PlanHook() = default;
  // Whether before() looks at x: where calls run on a device, all else is small (hook_on_device.h).
  virtual bool reads_states() const { return false; }
  // Before the router is asked. May point x at memory of the hook's own that stays valid until after().
  virtual void before(const SiteSpec&, swy_batch&) {}
  // The router's plan, in the site's memory, before capacity is applied and tokens are dispatched: its arrays may be
  // changed to another valid plan of the same kind.
  virtual void after(const SiteSpec&, const swy_needs&, const swy_batch&, const swy_plan&) {}
  // Outputs y [n, D] of experts that the router ran by itself (core/abi/experts.h); index [n], -1: none.
  virtual void lent(const SiteSpec&, int64_t /*n*/, const int32_t* /*index*/, float* /*y*/) {}
};

}  // namespace swy::moe
