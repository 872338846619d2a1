#include "core/moe/site.h"

#include <algorithm>

#include "core/base/error.h"

namespace swy::moe {

swy_site SiteSpec::abi() const {
  swy_site s{};
  s.struct_size = sizeof s;
  s.site = site, s.n_sites = n_sites, s.layer = layer, s.kind = SWY_SITE_FFN;
  s.d_model = width, s.n_experts = experts;
  s.group_tokens = group_sequences * sequence_tokens;
  s.capacity = train_capacity.of(s.group_tokens, experts);
  s.max_capacity = std::max(s.capacity, eval_capacity.of(s.group_tokens, experts));
  s.max_tokens = max_sequences * sequence_tokens;
  s.max_sequences = s.max_rows = max_sequences;
  s.max_groups = groups(max_sequences);
  return s;
}

void check_supported(const swy_router& router, const swy_needs& n, const SiteSpec& spec) {
  auto refuse = [&](const char* what) {
    usage_error("router '", router.id, "' at ", spec.name, " asks for ", what,
                ", which FFN sites do not offer; use a router for FFN sites");
  };
  if (n.aggregate != SWY_AGG_OUT) refuse("an aggregation other than OUT");
  if (n.row_kind == SWY_ROW_TASK || n.row_kind == SWY_ROW_PREFIX) refuse("rows of kind TASK or PREFIX");
  if (n.plan_kind == SWY_DENSE && n.row_kind != SWY_ROW_TOKEN) refuse("a DENSE plan over rows other than tokens");
  if (n.plan_kind == SWY_MERGE && n.row_kind == SWY_ROW_TOKEN) refuse("merged experts for each token");
  if (n.mix_blocks > 1) refuse("mixing weights per block of parameters");
  if (n.flags & SWY_SKIP_SCALE) refuse("a scale on skipped rows");
  if (n.inputs & (SWY_IN_TASK | SWY_IN_TASK_EMBEDDING | SWY_IN_INSTRUCTION | SWY_IN_PROMPT))
    refuse("task, instruction or prompt inputs");
}

}  // namespace swy::moe
