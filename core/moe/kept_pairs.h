// Site::Kept of a site that carries out ASSIGN plans, where the host can read it: for analysis and tests.
#pragma once
#include <vector>

#include "core/device/device.h"
#include "core/moe/dispatch_assign.h"
#include "core/moe/routed_site.h"

namespace swy::moe {

class KeptPairs {
 public:
  // Of the last forward: what the dispatcher holds, or, after one on a device, a copy that lives as long as this;
  // waits.
  Site::Kept of(const RouterAtSite& router, const DispatchAssign& a) {
    const float* weights = router.memory.plan().weight;
    if (!router.stream()) return {a.rows(), a.token(), a.expert(), a.entry(), weights};
    router.stream()->wait();
    int64_t n = 0;
    device_copy(&n, a.begin() + router.spec.experts, sizeof n);
    fetch(token_, a.token(), n), fetch(expert_, a.expert(), n), fetch(entry_, a.entry(), n);
    fetch(weight_, weights, router.needs.max_assign);
    return {n, token_.data(), expert_.data(), entry_.data(), weight_.data()};
  }

 private:
  template <class T>
  static void fetch(std::vector<T>& to, const T* from, int64_t n) {
    to.resize(static_cast<size_t>(n));
    if (n > 0) device_copy(to.data(), from, n * static_cast<int64_t>(sizeof(T)));
  }
  std::vector<int32_t> token_, expert_, entry_;
  std::vector<float> weight_;
};

}  // namespace swy::moe
