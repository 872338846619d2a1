#include "core/plugin/plan.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/base/error.h"

namespace swy {
namespace {

class PlanCheck {
 public:
  PlanCheck(const swy_router& router, const swy_needs& needs, const swy_batch& batch, const swy_plan& plan)
      : router_(router), needs_(needs), batch_(batch), plan_(plan) {}

  void run() const {
    if (plan_.kind != needs_.plan_kind) broken("kind is ", plan_.kind, ", needs declared ", needs_.plan_kind);
    const int64_t T = batch_.x.shape[0], D = batch_.x.shape[1], E = batch_.n_experts, R = batch_.n_rows;
    switch (plan_.kind) {
      case SWY_ASSIGN: assign(R, E); break;
      case SWY_DENSE:
        matrix("dispatch", plan_.dispatch, T, E * needs_.slots);
        matrix("combine", plan_.combine, T, E * needs_.slots);
        break;
      default: matrix("mix", plan_.mix, R, E * std::max(needs_.mix_blocks, 1));
    }
    if (needs_.flags & SWY_REWRITES_INPUT) matrix("expert_x", plan_.expert_x, T, D);
    if (needs_.flags & SWY_SKIP_SCALE) matrix("skip_scale", plan_.skip_scale, T, 1);
    if (needs_.flags & SWY_ADDS_OUTPUT) matrix("output", plan_.output, T, D);
    matrix("aux", plan_.aux, needs_.n_aux, 1);
    matrix("metric", plan_.metric, needs_.n_metrics, 1);
  }

 private:
  template <class... Args>
  [[noreturn]] void broken(const Args&... what) const {
    environment_error("router '", router_.id, "', site ", batch_.site, ": the plan breaks rule R11: ", what...);
  }

  void matrix(const char* name, const float* values, int64_t rows, int64_t cols) const {
    if (!values && rows * cols > 0) broken(name, " is declared but NULL");
    for (int64_t i = 0; i < rows * cols; ++i)
      if (!std::isfinite(values[i])) broken(name, "[", i / cols, ", ", i % cols, "] is ", values[i], ", not finite");
  }

  // Coarser rows may be listed whatever they hold: the host gives no padding to an expert.
  bool padding(int32_t row) const { return needs_.row_kind == SWY_ROW_TOKEN && batch_.mask && batch_.mask[row] == 0; }

  void assign(int64_t R, int64_t E) const {
    if (!plan_.row || !plan_.expert || !plan_.weight || !plan_.count) broken("row, expert, weight or count is NULL");
    const int64_t count = *plan_.count;
    if (count < 0 || count > plan_.max_assign) broken("count is ", count, ", outside [0, ", plan_.max_assign, "]");
    std::vector<bool> taken(static_cast<size_t>(R * E));
    for (int64_t i = 0; i < count; ++i) {
      const int32_t row = plan_.row[i], expert = plan_.expert[i];
      if (row < 0 || row >= R) broken("entry ", i, " has row ", row, ", but there are ", R, " rows");
      if (expert < 0 || expert >= E) broken("entry ", i, " has expert ", expert, ", but there are ", E, " experts");
      if (!std::isfinite(plan_.weight[i])) broken("entry ", i, " has weight ", plan_.weight[i], ", not finite");
      if (padding(row)) broken("entry ", i, " assigns row ", row, ", which is padding");
      const size_t pair = static_cast<size_t>(row * E + expert);
      if (taken[pair]) broken("entry ", i, " assigns row ", row, " to expert ", expert, " a second time");
      taken[pair] = true;
    }
  }

  const swy_router& router_;
  const swy_needs& needs_;
  const swy_batch& batch_;
  const swy_plan& plan_;
};

}  // namespace

void check_plan(const swy_router& router, const swy_needs& needs, const swy_batch& batch, const swy_plan& plan) {
  PlanCheck(router, needs, batch, plan).run();
}

}  // namespace swy
