// What a router answered to `needs`, before the host allocates by it.
#include <cmath>
#include <set>
#include <string>

#include "core/base/error.h"
#include "core/plugin/check.h"

namespace swy {
namespace {

class NeedsCheck {
 public:
  NeedsCheck(const swy_router& router, const swy_needs& needs, int32_t site)
      : needs_(needs), where_(cat("router '", router.id, "', site ", site, ": swy_needs.")) {}

  void run() const {
    range("plan_kind", needs_.plan_kind, SWY_ASSIGN, SWY_MERGE);
    range("row_kind", needs_.row_kind, SWY_ROW_TOKEN, SWY_ROW_BATCH);
    range("aggregate", needs_.aggregate, SWY_AGG_OUT, SWY_AGG_PROB);
    range("slots", needs_.slots, needs_.plan_kind == SWY_DENSE, INT32_MAX);
    range("capacity", needs_.capacity, 0, INT32_MAX);
    range("mix_blocks", needs_.mix_blocks, 0, INT32_MAX);
    range("max_assign", needs_.max_assign, needs_.plan_kind == SWY_ASSIGN, INT32_MAX);  // swy_plan.count is int32
    known("inputs", needs_.inputs, 2 * SWY_IN_CLUSTER - 1);
    known("flags", needs_.flags, 2 * SWY_STEADY - 1);
    range("expert_rows", needs_.expert_rows, 0, INT32_MAX);
    const bool prefix = needs_.row_kind == SWY_ROW_PREFIX;
    range("row_tokens", needs_.row_tokens, prefix, prefix ? INT32_MAX : 0);
    tensors();
    quantities("aux", needs_.aux, needs_.n_aux);
    quantities("metrics", needs_.metrics, needs_.n_metrics);
  }

 private:
  template <class... Args>
  void need(bool ok, const Args&... message) const {
    if (!ok) environment_error(where_, message...);
  }
  void range(const std::string& field, int64_t value, int64_t low, int64_t high) const {
    need(value >= low && value <= high, field, " is ", value, ", outside [", low, ", ", high, "]");
  }
  void known(const char* field, uint32_t bits, uint32_t all) const {
    need((bits & ~all) == 0, field, " has the bits ", bits & ~all, ", which this host does not know");
  }

  void tensors() const {
    need(needs_.n_tensors == 0 || needs_.tensors, "tensors is NULL but n_tensors is ", needs_.n_tensors);
    std::set<std::string> names;
    for (uint32_t i = 0; i < needs_.n_tensors; ++i) {
      const swy_tensor_spec& spec = needs_.tensors[i];
      need(spec.name && *spec.name, "tensors[", i, "].name is missing");
      const std::string field = cat("tensors[", i, "] ('", spec.name, "').");
      need(names.insert(spec.name).second, field, "name is used twice");
      range(field + "rank", spec.rank, 1, 4);
      for (int d = 0; d < 4; ++d) range(cat(field, "shape[", d, "]"), spec.shape[d], 1, d < spec.rank ? INT64_MAX : 1);
      range(field + "dtype", spec.dtype, SWY_F32, SWY_I32);
      range(field + "role", spec.role, SWY_PARAM, SWY_BUFFER);
      range(field + "init", spec.init, SWY_INIT_ZERO, SWY_INIT_ORTHOGONAL);
      need(std::isfinite(spec.init_scale), field, "init_scale is not finite");
      need(std::isfinite(spec.lr_scale) && spec.lr_scale >= 0, field, "lr_scale is ", spec.lr_scale);
    }
  }

  void quantities(const std::string& table, const swy_quantity* quantity, uint32_t n) const {
    need(n == 0 || quantity, table, " is NULL but n_", table, " is ", n);
    std::set<std::string> names;
    for (uint32_t i = 0; i < n; ++i) {
      need(quantity[i].name && *quantity[i].name, table, "[", i, "].name is missing");
      need(names.insert(quantity[i].name).second, table, "[", i, "].name '", quantity[i].name, "' is used twice");
      need(std::isfinite(quantity[i].weight), table, "[", i, "] ('", quantity[i].name, "').weight is not finite");
    }
  }

  const swy_needs& needs_;
  const std::string where_;
};

}  // namespace

void check_needs(const swy_router& router, const swy_needs& needs, int32_t site) {
  NeedsCheck(router, needs, site).run();
}

}  // namespace swy
