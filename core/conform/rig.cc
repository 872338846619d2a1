#include "core/conform/rig.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/base/philox.h"
#include "core/base/seed.h"
#include "core/conform/case.h"
#include "core/device/params.h"

namespace swy::conform {
namespace {

void draw(std::vector<float>& to, size_t n, uint64_t seed, float scale) {
  Random random(seed);
  to.resize(n);
  for (float& v : to) v = scale * (2 * random.uniform() - 1);
}

Init init_of(int32_t abi) {
  static constexpr Init table[] = {Init::kZero,        Init::kConst,   Init::kNormal,
                                   Init::kTruncNormal, Init::kUniform, Init::kOrthogonal};
  return table[abi];
}

constexpr int64_t kMostState = 1 << 20;  // drawn options may ask for matrices that would take minutes to copy and check

int64_t elements(const swy_tensor_spec& spec) {
  int64_t n = 1;
  for (int32_t a = 0; a < spec.rank; ++a) n *= spec.shape[a];
  return n;
}

std::vector<float> first_value(const swy_tensor_spec& spec, uint64_t seed) {
  TensorSpec t;
  t.name = spec.name;
  t.shape.assign(spec.shape, spec.shape + spec.rank);
  t.init = init_of(spec.init);
  t.init_scale = spec.init_scale;
  std::vector<float> value(static_cast<size_t>(elements(spec))), spread;
  initialise(t, seed, value.data());
  if (spec.role != SWY_PARAM) return value;
  draw(spread, value.size(), child_seed(seed, 1), 0.3f);
  for (size_t i = 0; i < value.size(); ++i) value[i] += spread[i];
  return value;
}

std::vector<int32_t> offsets(const std::vector<int32_t>& lengths) {
  std::vector<int32_t> begin{0};
  for (const int32_t n : lengths) begin.push_back(begin.back() + n);
  return begin;
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || !std::memcmp(a.data(), b.data(), a.size() * sizeof(float)));
}

std::string compare(const char* name, const std::vector<float>& a, const std::vector<float>& b, double tolerance) {
  if (a.size() != b.size()) return cat(name, " has ", a.size(), " entries against ", b.size());
  for (size_t i = 0; i < a.size(); ++i)
    if (!(std::fabs(a[i] - b[i]) <= tolerance * (1 + std::fabs(a[i]))))
      return cat(name, "[", i, "] ", a[i], " against ", b[i]);
  return {};
}

}  // namespace

// Rig::expert in single precision.
class Rig::Experts : public SiteExperts {
 public:
  explicit Experts(int32_t width) : width_(static_cast<size_t>(width)) {}
  void forward(const Exec&, int32_t call, int64_t n, const int32_t* index, const float* x, float* y) override {
    Call& c = calls_[call];
    c.index.assign(index, index + n), c.x.assign(x, x + n * static_cast<int64_t>(width_));
    rows += std::count_if(index, index + n, [](int32_t e) { return e >= 0; });
    for (size_t i = 0; i < c.x.size(); ++i)
      y[i] = c.index[i / width_] < 0 ? 0 : slope(c, i) * c.x[i] + 0.2f * c.x[i] * c.x[i];
  }
  void backward(const Exec&, int32_t call, int64_t, const float* dy, float* dx) override {
    const Call& c = calls_.at(call);
    for (size_t i = 0; i < c.x.size(); ++i) gradient = std::max(gradient, std::fabs(double{dy[i]}));
    for (size_t i = 0; dx && i < c.x.size(); ++i)
      if (c.index[i / width_] >= 0) dx[i] += dy[i] * (slope(c, i) + 0.4f * c.x[i]);
  }

  int64_t rows = 0;
  double gradient = 0;

 private:
  struct Call {
    std::vector<int32_t> index;
    std::vector<float> x;
  };
  float slope(const Call& c, size_t i) const { return (2 + static_cast<float>(c.index[i / width_])) / 4; }
  const size_t width_;
  std::map<int32_t, Call> calls_;
};

Rig::~Rig() = default;
int64_t Rig::expert_rows() const { return experts_->rows; }
double Rig::expert_gradient() const { return experts_->gradient; }

bool Plan::operator==(const Plan& o) const {
  return kind == o.kind && row == o.row && expert == o.expert && same(weight, o.weight) && same(dispatch, o.dispatch) &&
         same(combine, o.combine) && same(mix, o.mix) && same(expert_x, o.expert_x) && same(skip_scale, o.skip_scale) &&
         same(output, o.output) && same(aux, o.aux) && same(metric, o.metric);
}

std::string Plan::difference(const Plan& o, double tolerance) const {
  if (row.size() != o.row.size()) return cat(row.size(), " entries against ", o.row.size());
  for (size_t i = 0; i < row.size(); ++i)
    if (row[i] != o.row[i] || expert[i] != o.expert[i])
      return cat("entry ", i, " sends row ", row[i], " to expert ", expert[i], " against row ", o.row[i], " to expert ",
                 o.expert[i]);
  const struct {
    const char* name;
    const std::vector<float>&a, &b;
  } parts[] = {{"weight", weight, o.weight},       {"dispatch", dispatch, o.dispatch},
               {"combine", combine, o.combine},    {"mix", mix, o.mix},
               {"expert_x", expert_x, o.expert_x}, {"skip_scale", skip_scale, o.skip_scale},
               {"output", output, o.output},       {"aux", aux, o.aux},
               {"metric", metric, o.metric}};
  for (const auto& part : parts)
    if (std::string text = compare(part.name, part.a, part.b, tolerance); !text.empty()) return text;
  return {};
}

PlanGrad constant_grad(const Plan& p, float value) {
  auto like = [value](const std::vector<float>& v) { return std::vector<float>(v.size(), value); };
  return {like(p.weight),   like(p.dispatch),   like(p.combine), like(p.mix),
          like(p.expert_x), like(p.skip_scale), like(p.output),  like(p.aux)};
}

std::vector<float> drawn(size_t n, Random& random) {
  std::vector<float> v(n);
  for (float& f : v) f = 2 * random.uniform() - 1;
  return v;
}

PlanGrad random_grad(const Plan& p, Random& random) {
  auto like = [&random](const std::vector<float>& v) { return drawn(v.size(), random); };
  return {like(p.weight),   like(p.dispatch),   like(p.combine), like(p.mix),
          like(p.expert_x), like(p.skip_scale), like(p.output),  like(p.aux)};
}

Rig::Rig(const swy_router& router, Setting setting)
    : router_(router),
      setting_(std::move(setting)),
      experts_(std::make_unique<Experts>(setting_.shape.width)),
      host_{&tally_, false, nullptr, experts_.get()},
      instance_(router, setting_.options, 1, setting_.checking) {
  progress = setting_.progress;
  const DrawnShape& s = setting_.shape;
  site_ = site_of(s, setting_.site_kind);
  needs_ = instance_.needs(site_);
  int64_t state = 0;
  for (uint32_t i = 0; i < needs_.n_tensors; ++i) state += elements(needs_.tensors[i]);
  if (state > kMostState)
    usage_error("router '", router.id, "' wants ", state, " numbers of state; this check takes at most ", kMostState);
  const auto tokens = static_cast<size_t>(s.tokens()), width = static_cast<size_t>(s.width);
  const auto experts = static_cast<size_t>(s.experts);
  const uint64_t seed = setting_.seed;
  draw(x, tokens * width, child_seed(seed, 1), 1.7f);  // unit variance
  draw(residual, tokens * width, child_seed(seed, 2), 1.7f);
  draw(task_embedding, static_cast<size_t>(s.tasks * s.task_width), child_seed(seed, 3), 1.7f);
  draw(instruction, static_cast<size_t>(s.sequences() * s.instruction_width), child_seed(seed, 4), 1.7f);
  dx.assign(x.size(), 0.f), dresidual = dx;
  mask = s.mask;
  Random ids(child_seed(seed, 5));
  const auto vocabulary = static_cast<uint32_t>(std::max(1, s.vocabulary));
  for (const int32_t n : s.sequence_tokens)
    for (int32_t t = 0; t < n; ++t)
      token_id.push_back(static_cast<int32_t>(ids.below(vocabulary))), position.push_back(t);
  for (size_t t = 0; t < tokens; ++t) cluster.push_back(static_cast<int32_t>(ids.below(4)));
  sequence_begin_ = offsets(s.sequence_tokens), group_begin_ = offsets(s.group_tokens());
  group_capacity_ = s.group_capacity;
  if (needs_.capacity) std::fill(group_capacity_.begin(), group_capacity_.end(), needs_.capacity);
  whole_ = {0, s.tokens()}, prompt_ = s.prompt_tokens, task_ = s.sequence_task;
  for (int64_t b = 0; b < s.sequences(); ++b) sequence_id_.push_back(1000 + b);

  for (uint32_t i = 0; i < needs_.n_tensors; ++i) {
    const swy_tensor_spec& spec = needs_.tensors[i];
    Held h{spec.name, spec.role == SWY_PARAM, first_value(spec, child_seed(seed, 10 + i)), {}};
    if (h.is_param) h.grad.assign(h.value.size(), 0.f);
    tensors.push_back(std::move(h));
  }
  const size_t matrix = needs_.plan_kind == SWY_DENSE ? tokens * experts * static_cast<size_t>(needs_.slots) : 0;
  const auto list = static_cast<size_t>(needs_.plan_kind == SWY_ASSIGN ? needs_.max_assign : 0);
  row_.resize(list), expert_.resize(list), weight_.resize(list);
  dispatch_.resize(matrix), combine_.resize(matrix);
  row_begin_ = {0};
  for (size_t b = 0; needs_.row_tokens > 0 && b < s.sequence_tokens.size(); ++b)
    for (int32_t t = 0; t < s.sequence_tokens[b]; t += needs_.row_tokens) {
      row_previous_.push_back(t ? static_cast<int32_t>(row_begin_.size()) - 2 : -1);
      row_begin_.push_back(sequence_begin_[b] + std::min(t + needs_.row_tokens, s.sequence_tokens[b]));
    }
  if (needs_.plan_kind == SWY_MERGE)
    mix_.resize(static_cast<size_t>(batch().n_rows) * experts * static_cast<size_t>(std::max(needs_.mix_blocks, 1)));
  if (needs_.flags & SWY_REWRITES_INPUT) expert_x_.resize(x.size());
  if (needs_.flags & SWY_SKIP_SCALE) skip_scale_.resize(tokens);
  if (needs_.flags & SWY_ADDS_OUTPUT) output_.resize(x.size());
  aux_.resize(needs_.n_aux), metric_.resize(needs_.n_metrics);
  scratch_.resize(std::max(needs_.scratch_forward, needs_.scratch_backward) / 8 + 64);
  saved_.resize(needs_.saved / 8 + 64);
}

Held& Rig::tensor(const std::string& name) {
  for (Held& h : tensors)
    if (h.name == name) return h;
  broken("R20", "there is no tensor '", name, "'");
}

void Rig::zero_grads() {
  for (Held& h : tensors) std::fill(h.grad.begin(), h.grad.end(), 0.f);
  std::fill(dx.begin(), dx.end(), 0.f), std::fill(dresidual.begin(), dresidual.end(), 0.f);
}

swy_batch Rig::batch() {
  const DrawnShape& s = setting_.shape;
  const int64_t tokens = s.tokens();
  swy_batch b{};
  b.struct_size = sizeof b;
  b.n_sequences = s.sequences(), b.n_tasks = s.tasks, b.n_experts = s.experts, b.n_groups = s.groups();
  b.x = {x.data(), {tokens, s.width, 1, 1}, 2, SWY_F32};
  if (needs_.inputs & SWY_IN_RESIDUAL) b.residual = {residual.data(), {tokens, s.width, 1, 1}, 2, SWY_F32};
  if (needs_.inputs & SWY_IN_TASK_EMBEDDING)
    b.task_embedding = {task_embedding.data(), {s.tasks, s.task_width, 1, 1}, 2, SWY_F32};
  if (needs_.inputs & SWY_IN_INSTRUCTION)
    b.instruction = {instruction.data(), {s.sequences(), s.instruction_width, 1, 1}, 2, SWY_F32};
  if (needs_.inputs & SWY_IN_TOKEN_ID) b.token_id = token_id.data();
  if (needs_.inputs & SWY_IN_CLUSTER) b.cluster = cluster.data();
  if (needs_.inputs & SWY_IN_PROMPT) b.prompt_tokens = prompt_.data();
  if (needs_.inputs & SWY_IN_TASK || needs_.row_kind == SWY_ROW_TASK) b.sequence_task = task_.data();
  b.position = position.data();
  b.mask = mask.empty() ? nullptr : mask.data();
  b.sequence_begin = sequence_begin_.data(), b.sequence_id = sequence_id_.data();
  b.group_begin = group_begin_.data(), b.group_capacity = group_capacity_.data();
  switch (needs_.row_kind) {
    case SWY_ROW_TOKEN: b.n_rows = static_cast<int32_t>(tokens); break;
    case SWY_ROW_TASK: b.n_rows = s.tasks; break;
    case SWY_ROW_BATCH: b.n_rows = 1, b.row_begin = whole_.data(); break;
    case SWY_ROW_PREFIX:
      b.n_rows = static_cast<int32_t>(row_previous_.size());
      b.row_begin = row_begin_.data(), b.row_previous = row_previous_.data();
      break;
    default: b.n_rows = s.sequences(), b.row_begin = sequence_begin_.data();
  }
  return b;
}

swy_state Rig::state() {
  param_.clear(), grad_.clear(), buffer_.clear();
  for (size_t i = 0; i < tensors.size(); ++i) {
    const swy_tensor_spec& s = needs_.tensors[i];
    swy_tensor t{tensors[i].value.data(), {s.shape[0], s.shape[1], s.shape[2], s.shape[3]}, s.rank, s.dtype};
    (tensors[i].is_param ? param_ : buffer_).push_back(t);
    t.data = tensors[i].grad.data();
    if (tensors[i].is_param) grad_.push_back(t);
  }
  swy_state st{};
  st.struct_size = sizeof st;
  st.n_param = static_cast<uint32_t>(param_.size()), st.n_buffer = static_cast<uint32_t>(buffer_.size());
  st.param = param_.data(), st.grad = grad_.data(), st.buffer = buffer_.data();
  return st;
}

swy_exec Rig::exec(uint64_t scratch_bytes) {
  auto aligned = [](std::vector<uint64_t>& v) {
    return reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(v.data()) + 255) / 256 * 256);
  };
  swy_exec e{};
  e.struct_size = sizeof e;
  e.device = SWY_CPU, e.phase = phase, e.step = step, e.seed = call_seed, e.flags = flags;
  e.progress = progress;
  e.scratch = aligned(scratch_), e.scratch_bytes = scratch_bytes;
  e.saved = aligned(saved_), e.saved_bytes = needs_.saved;
  e.ctx = &host_;
  return e;
}

swy_plan Rig::plan_memory() {
  swy_plan p{};
  p.struct_size = sizeof p;
  p.kind = needs_.plan_kind, p.max_assign = needs_.max_assign;
  if (needs_.plan_kind == SWY_ASSIGN)
    p.row = row_.data(), p.expert = expert_.data(), p.weight = weight_.data(), p.count = &count_;
  if (needs_.plan_kind == SWY_DENSE) p.dispatch = dispatch_.data(), p.combine = combine_.data();
  if (needs_.plan_kind == SWY_MERGE) p.mix = mix_.data();
  if (!expert_x_.empty()) p.expert_x = expert_x_.data();
  if (!skip_scale_.empty()) p.skip_scale = skip_scale_.data();
  if (!output_.empty()) p.output = output_.data();
  p.aux = aux_.data(), p.metric = metric_.data();
  return p;
}

swy_plan_grad Rig::grad_memory(const PlanGrad& given) {
  dplan_ = given;
  dplan_.weight.resize(weight_.size()), dplan_.dispatch.resize(dispatch_.size());
  dplan_.combine.resize(combine_.size()), dplan_.mix.resize(mix_.size());
  dplan_.expert_x.resize(expert_x_.size()), dplan_.skip_scale.resize(skip_scale_.size());
  dplan_.output.resize(output_.size());
  dplan_.aux.resize(aux_.size());
  auto at = [](const std::vector<float>& v) { return v.empty() ? nullptr : v.data(); };
  swy_plan_grad d{};
  d.struct_size = sizeof d;
  d.weight = at(dplan_.weight), d.dispatch = at(dplan_.dispatch), d.combine = at(dplan_.combine);
  d.mix = at(dplan_.mix), d.expert_x = at(dplan_.expert_x), d.skip_scale = at(dplan_.skip_scale);
  d.output = at(dplan_.output);
  d.aux = at(dplan_.aux);
  return d;
}

void Rig::forward() {
  std::fill(aux_.begin(), aux_.end(), 0.f), std::fill(metric_.begin(), metric_.end(), 0.f);
  swy_exec e = exec(needs_.scratch_forward);
  swy_plan p = plan_memory();
  instance_.forward(e, batch(), state(), p);
}

void Rig::backward(const PlanGrad& given) {
  swy_exec e = exec(needs_.scratch_backward);
  const swy_tensor like = {nullptr, {setting_.shape.tokens(), setting_.shape.width, 1, 1}, 2, SWY_F32};
  swy_tensor to[2] = {like, like};
  to[0].data = dx.data(), to[1].data = dresidual.data();
  instance_.backward(e, batch(), state(), plan_memory(), grad_memory(given), to);
}

void Rig::update(const std::vector<int32_t>& kept, std::vector<int32_t> dropped) {
  swy_exec e = exec(needs_.scratch_forward);
  dropped.resize(kept.size());
  swy_load load{};
  load.struct_size = sizeof load;
  load.kept = kept.data(), load.dropped = dropped.data(),
  load.tokens = setting_.shape.tokens() - std::count(mask.begin(), mask.end(), 0);
  instance_.update(e, 0, state(), load);
}

Plan Rig::plan() const {
  Plan p;
  p.kind = needs_.plan_kind, p.row_kind = needs_.row_kind, p.experts = setting_.shape.experts;
  const auto n = static_cast<size_t>(needs_.plan_kind == SWY_ASSIGN ? count_ : 0);
  p.row.assign(row_.begin(), row_.begin() + static_cast<std::ptrdiff_t>(n));
  p.expert.assign(expert_.begin(), expert_.begin() + static_cast<std::ptrdiff_t>(n));
  p.weight.assign(weight_.begin(), weight_.begin() + static_cast<std::ptrdiff_t>(n));
  p.dispatch = dispatch_, p.combine = combine_, p.mix = mix_;
  p.expert_x = expert_x_, p.skip_scale = skip_scale_, p.output = output_, p.aux = aux_, p.metric = metric_;
  return p;
}

std::vector<OptionText> choices_of(const swy_router& router) {
  std::vector<OptionText> settings;
  for (uint32_t i = 0; i < router.n_options; ++i) {
    const swy_option& o = router.options[i];
    if (o.type == SWY_OPT_BOOL) settings.push_back({{o.name, o.preset.i ? "false" : "true"}});
    if (o.type == SWY_OPT_CHOICE)
      for (std::string rest = o.choices; !rest.empty();) {
        const size_t bar = std::min(rest.find('|'), rest.size());
        if (rest.substr(0, bar) != o.preset.s) settings.push_back({{o.name, rest.substr(0, bar)}});
        rest = bar < rest.size() ? rest.substr(bar + 1) : "";
      }
  }
  return settings;
}

int32_t site_kind_of(const swy_router& router) {
  const auto refusal = [&](int32_t kind, int32_t experts) -> std::string {
    DrawnShape shape = usual_shape(kind);
    shape.experts = experts;
    try {
      Rig(router, {{}, shape, kind});
      return {};
    } catch (const Error& e) {
      if (e.kind != Kind::kUsage) throw;
      return e.what();
    }
  };
  const std::string ffn = refusal(SWY_SITE_FFN, 4);
  if (ffn.empty()) return SWY_SITE_FFN;
  for (const int32_t experts : {1, 2, 3, 8, 16})  // one that is taken says that it is the four that are refused
    if (refusal(SWY_SITE_FFN, experts).empty())
      skip("its presets fit an FFN site of ", experts, " experts, but not the one of four that is looked at: ", ffn);
  const std::string block = refusal(SWY_SITE_BLOCK, 1);
  if (block.empty()) return SWY_SITE_BLOCK;
  skip("its presets fit neither FFN sites nor a block: ", ffn, "; ", block);
}

void needs_repetition(const swy_router& router, const Setting& setting) {
  Rig one(router, setting), other(router, setting);
  for (const int32_t phase : {SWY_TRAIN, SWY_SCORE}) {
    one.phase = other.phase = phase;
    one.forward(), other.forward();
    const Plan first = one.plan();
    one.forward();
    for (const Plan& again : {one.plan(), other.plan()})
      if (const std::string text = first.difference(again, 1e-5); !text.empty())
        skip("its calls cannot be repeated (see R12 and R13): ", text);
  }
}

DrawnShape usual_shape(int32_t site_kind) {
  DrawnShape s;
  s.width = 6, s.experts = site_kind == SWY_SITE_BLOCK ? 1 : 4;
  s.capacity = site_kind == SWY_SITE_BLOCK ? 3 : 2;
  s.sequence_tokens = {8, 8}, s.group_sequences = {1, 1};
  s.group_capacity = {s.capacity, s.capacity};
  s.prompt_tokens = {3, 8};
  s.tasks = 2, s.sequence_task = {1, 0};
  s.task_width = 5, s.instruction_width = 5;
  return s;
}

DrawnShape ragged_shape(int32_t site_kind) {
  DrawnShape s = usual_shape(site_kind);
  s.sequence_tokens = {7, 1, 12, 5}, s.group_sequences = {1, 1, 1, 1};
  s.capacity = 3, s.group_capacity = {2, 1, 3, 1};
  s.prompt_tokens = {3, 1, 12, 2};
  s.tasks = 3, s.sequence_task = {2, 0, 2, 0};
  s.spare_tokens = 9;
  const int32_t real[] = {5, 1, 12, 3};
  for (size_t b = 0; b < 4; ++b)
    for (int32_t t = 0; t < s.sequence_tokens[b]; ++t) s.mask.push_back(t < real[b]);
  return s;
}

std::vector<std::pair<int32_t, float>> entries_of(const Plan& p, int32_t row) {
  std::vector<std::pair<int32_t, float>> entries;
  for (size_t i = 0; i < p.row.size(); ++i)
    if (p.row[i] == row) entries.emplace_back(p.expert[i], p.weight[i]);
  return entries;
}

}  // namespace swy::conform
