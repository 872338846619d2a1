#include "core/moe/call_memory.h"

#include <algorithm>
#include <string>

#include "core/base/error.h"
#include "core/base/seed.h"
#include "core/device/device.h"
#include "core/moe/cuda.h"

namespace swy::moe {
namespace {
constexpr auto kFloat = static_cast<int64_t>(sizeof(float));

void write_tables(const BatchTables& tables, bool one_row, const int32_t* first_position, const TableMemory& to) {
  const int32_t tokens = tables.tokens();
  for (int32_t t = 0; t < tokens; ++t)
    to.position[t] = (first_position ? first_position[t / tables.sequence_tokens] : 0) + tables.position(t);
  for (int32_t b = 0; b <= tables.sequences; ++b) to.sequence_begin[b] = tables.sequence_begin(b);
  for (int32_t b = 0; b < tables.sequences; ++b) to.sequence_id[b] = b;
  for (int32_t g = 0; g <= tables.groups(); ++g) to.group_begin[g] = tables.group_begin(g);
  for (int32_t g = 0; g < tables.groups(); ++g) to.group_capacity[g] = tables.group_capacity(g);
  if (one_row) to.row_begin[0] = 0, to.row_begin[1] = tokens;
  if (!tables.row_tokens) return;
  for (int32_t r = 0; r < tables.rows(); ++r)
    to.row_begin[r] = tables.row_begin(r), to.row_previous[r] = tables.row_previous(r);
  to.row_begin[tables.rows()] = tokens;
}
}  // namespace

CallMemory::CallMemory(Arena& arena, const SiteSpec& spec, const swy_site& site, const swy_needs& needs)
    : arena_(arena), spec_(spec), site_(site), needs_(needs) {
  auto span = [&](const char* name, int64_t n) { return arena.reserve(spec.name + "." + name, n * kFloat); };
  const int64_t tokens = site.max_tokens, slots = static_cast<int64_t>(spec.experts) * needs.slots;
  const int64_t list = needs.plan_kind == SWY_ASSIGN ? needs.max_assign : 0;
  const int64_t matrix = needs.plan_kind == SWY_DENSE ? tokens * slots : 0;
  const int64_t rows = needs.row_kind == SWY_ROW_TOKEN ? 0 : most_rows(site, needs);
  const int64_t mixing = needs.plan_kind == SWY_MERGE ? rows * spec.experts : 0;
  const int64_t rewritten = rewrites_input() ? tokens * spec.width : 0;
  row_ = span("plan.row", list), expert_ = span("plan.expert", list), weight_ = span("plan.weight", list);
  count_ = span("plan.count", 1), dispatch_ = span("plan.dispatch", matrix), combine_ = span("plan.combine", matrix);
  mix_ = span("plan.mix", mixing), expert_x_ = span("plan.expert_x", rewritten);
  output_ = span("plan.output", adds_output() ? tokens * spec.width : 0);
  aux_ = arena.reserve_reported(spec.name + ".plan.aux", needs.n_aux * kFloat);
  metric_ = arena.reserve_reported(spec.name + ".plan.metric", needs.n_metrics * kFloat);
  dweight_ = span("dplan.weight", list), ddispatch_ = span("dplan.dispatch", matrix);
  dcombine_ = span("dplan.combine", matrix), dmix_ = span("dplan.mix", mixing);
  dexpert_x_ = span("dplan.expert_x", rewritten),
  doutput_ = span("dplan.output", adds_output() ? tokens * spec.width : 0);
  scratch_ = arena.reserve(spec.name + ".scratch",
                           static_cast<int64_t>(std::max(needs.scratch_forward, needs.scratch_backward)));
  saved_ = arena.reserve(spec.name + ".saved", static_cast<int64_t>(needs.saved));
  position_ = span("position", tokens), sequence_begin_ = span("sequence_begin", site.max_sequences + 1);
  sequence_id_ = span("sequence_id", int64_t{2} * site.max_sequences);
  group_begin_ = span("group_begin", site.max_groups + 1), group_capacity_ = span("group_capacity", site.max_groups);
  row_begin_ = span("row_begin", rows + 1), row_previous_ = span("row_previous", rows);
}

int32_t CallMemory::capacity(int32_t phase, int32_t group_tokens) const {
  if (needs_.capacity) return needs_.capacity;
  if (phase == SWY_DECODE) return std::min(group_tokens, site_.max_capacity);  // a rule for sequences gives one token 0
  return (phase == SWY_TRAIN ? spec_.train_capacity : spec_.eval_capacity).of(group_tokens, spec_.experts);
}

swy_batch CallMemory::batch(const Exec& ex, int32_t phase, const SequenceBatch& sequences, const float* x,
                            const float* residual) const {
  const int32_t n_sequences = sequences.n_sequences, n_groups = spec_.groups(n_sequences);
  const int32_t s = sequences.sequence_tokens ? sequences.sequence_tokens : spec_.sequence_tokens;
  const int32_t tokens = n_sequences * s;
  if ((ex.stream != nullptr) != arena_.on_device())
    usage_error(spec_.name, ": the call runs on ", ex.stream ? "a device" : "the CPU", " and the site's Arena lies on ",
                ex.stream ? "the CPU" : "a device", "; make both for the same place");
  if (ex.stream && sequences.mask && sequences.real_tokens < 0)
    usage_error(spec_.name, ": a mask on a device needs SequenceBatch::real_tokens, the number of tokens it keeps");
  BatchTables tables{n_sequences, s, spec_.group_sequences, 0, 0};
  if (n_groups > 1) tables.full_capacity = capacity(phase, spec_.group_sequences * s);
  if (n_groups > 0) tables.last_capacity = capacity(phase, tokens - tables.group_begin(n_groups - 1));
  if (needs_.row_kind == SWY_ROW_PREFIX) tables.row_tokens = needs_.row_tokens;
  const bool one_row = needs_.row_kind == SWY_ROW_BATCH;
  auto *position = arena_.as<int32_t>(position_), *sequence = arena_.as<int32_t>(sequence_begin_);
  auto *group = arena_.as<int32_t>(group_begin_), *slots = arena_.as<int32_t>(group_capacity_);
  auto* id = arena_.as<int64_t>(sequence_id_);
  auto *row = arena_.as<int32_t>(row_begin_), *previous = arena_.as<int32_t>(row_previous_);
  const TableMemory to{position, sequence, group, slots, id, row, previous};
  if (ex.stream) {
    if constexpr (kWithCuda) cuda::write_tables(*ex.stream, tables, one_row, sequences.first_position, to);
  } else {
    write_tables(tables, one_row, sequences.first_position, to);
  }

  const bool wants_residual = needs_.inputs & SWY_IN_RESIDUAL;
  if (wants_residual && !residual) usage_error(spec_.name, ": the router reads the residual stream; none was given");
  swy_batch b{};
  b.struct_size = sizeof b;
  b.site = spec_.site, b.n_sequences = n_sequences, b.n_experts = spec_.experts, b.n_groups = n_groups;
  b.x = {const_cast<float*>(x), {tokens, spec_.width, 1, 1}, 2, SWY_F32};
  b.residual = {wants_residual ? const_cast<float*>(residual) : nullptr, {tokens, spec_.width, 1, 1}, 2, SWY_F32};
  b.position = position, b.mask = sequences.mask, b.sequence_begin = sequence, b.sequence_id = id;
  b.group_begin = group, b.group_capacity = slots;
  if (needs_.inputs & SWY_IN_TOKEN_ID) {
    if (!sequences.token_id) usage_error(spec_.name, ": the router reads token ids; none were given");
    b.token_id = sequences.token_id;
  }
  if (needs_.inputs & SWY_IN_CLUSTER) {
    if (!sequences.cluster) usage_error(spec_.name, ": the router reads planted clusters; none were given");
    b.cluster = sequences.cluster;
  }
  add_rows(b, tables.rows());
  if (needs_.row_kind == SWY_ROW_TASK || (needs_.inputs & (SWY_IN_TASK | SWY_IN_TASK_EMBEDDING)))
    add_tasks(ex, sequences, b);
  return b;
}

// The routed rows, where they are not single tokens.
void CallMemory::add_rows(swy_batch& b, int32_t prefix_rows) const {
  b.n_rows = static_cast<int32_t>(b.x.shape[0]);
  if (needs_.row_kind == SWY_ROW_SEQUENCE) b.n_rows = b.n_sequences, b.row_begin = b.sequence_begin;
  if (needs_.row_kind == SWY_ROW_BATCH) b.n_rows = 1, b.row_begin = arena_.as<int32_t>(row_begin_);
  if (needs_.row_kind != SWY_ROW_PREFIX) return;
  b.n_rows = prefix_rows;
  b.row_begin = arena_.as<int32_t>(row_begin_), b.row_previous = arena_.as<int32_t>(row_previous_);
}

void CallMemory::add_tasks(const Exec& ex, const SequenceBatch& given, swy_batch& b) const {
  if (!given.sequence_task || given.n_tasks < 1 || given.n_tasks > spec_.max_tasks)
    usage_error(spec_.name, ": the router routes by task; this batch has ", given.n_tasks, " tasks",
                given.sequence_task ? "" : " and does not say whose sequences are whose", ", the site 1 to ",
                spec_.max_tasks);
  for (int32_t i = 0; !ex.stream && i < given.n_sequences; ++i)  // a device is not asked in a step
    if (given.sequence_task[i] < 0 || given.sequence_task[i] >= given.n_tasks)
      usage_error(spec_.name, ": sequence ", i, " has task ", given.sequence_task[i], "; tasks are 0 to ",
                  given.n_tasks - 1);
  b.n_tasks = given.n_tasks, b.sequence_task = given.sequence_task;
  if (needs_.row_kind == SWY_ROW_TASK) b.n_rows = given.n_tasks;
  if (!(needs_.inputs & SWY_IN_TASK_EMBEDDING)) return;
  if (!given.task_embedding) usage_error(spec_.name, ": the router reads task embeddings; none were given");
  b.task_embedding = {const_cast<float*>(given.task_embedding), {given.n_tasks, spec_.d_task, 1, 1}, 2, SWY_F32};
}

swy_exec CallMemory::exec(const Exec& ex, const StepInfo& info, uint64_t scratch_bytes) const {
  swy_exec e{};
  e.struct_size = sizeof e;
  e.device = ex.stream ? SWY_CUDA : SWY_CPU, e.phase = info.phase;
  e.stream = ex.stream ? ex.stream->handle() : nullptr;
  e.ordinal = ex.stream ? ex.stream->device() : 0;
  e.scratch = arena_.at(scratch_), e.scratch_bytes = scratch_bytes;
  e.saved = arena_.at(saved_), e.saved_bytes = needs_.saved;
  e.seed = site_seed(info.run_seed, Purpose::kRouterNoise, info.step, spec_.site);
  e.step = info.step;
  e.progress = info.progress;
  e.ctx = const_cast<Exec*>(&ex);
  return e;
}

swy_plan CallMemory::plan() const {
  swy_plan p{};
  p.struct_size = sizeof p;
  p.kind = needs_.plan_kind, p.max_assign = needs_.max_assign;
  p.row = arena_.as<int32_t>(row_), p.expert = arena_.as<int32_t>(expert_), p.weight = arena_.as<float>(weight_);
  p.count = arena_.as<int32_t>(count_);
  p.dispatch = arena_.as<float>(dispatch_), p.combine = arena_.as<float>(combine_), p.mix = arena_.as<float>(mix_);
  p.expert_x = rewrites_input() ? arena_.as<float>(expert_x_) : nullptr;
  p.output = adds_output() ? arena_.as<float>(output_) : nullptr;
  p.aux = arena_.as<float>(aux_), p.metric = arena_.as<float>(metric_);
  return p;
}

swy_plan_grad CallMemory::plan_grad() const {
  swy_plan_grad d{};
  d.struct_size = sizeof d;
  d.weight = dweight(), d.dispatch = ddispatch(), d.combine = dcombine(), d.mix = dmix();
  d.expert_x = rewrites_input() ? dexpert_x() : nullptr;
  d.output = adds_output() ? doutput() : nullptr;
  return d;
}

}  // namespace swy::moe
