// What stands behind the host extension "swy.experts/1" (core/abi/experts.h): the experts of the site whose router is
// being called. The owner of a site puts it into the Exec of the router's calls.
#pragma once
#include <cstdint>

#include "core/abi/experts.h"
#include "core/device/exec.h"

namespace swy {

class SiteExperts {
 public:
  virtual ~SiteExperts() = default;
  // As in experts.h. Throw Error when there are more rows than the router declared, or calls out of turn.
  virtual void forward(const Exec&, int32_t call, int64_t n, const int32_t* index, const float* x, float* y) = 0;
  virtual void backward(const Exec&, int32_t call, int64_t n, const float* dy, float* dx_add) = 0;
};

// The table that routers are given.
const swy_experts& experts_table();

}  // namespace swy
