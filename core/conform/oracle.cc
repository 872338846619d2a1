#include "core/conform/oracle.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/philox.h"
#include "core/base/suggest.h"

namespace swy::conform {
namespace {

DrawnShape shape_of(const OracleSite& site) {
  DrawnShape s;
  s.width = site.width, s.experts = site.experts;
  s.capacity = site.capacity ? site.capacity : *std::max_element(site.groups.begin(), site.groups.end());
  s.sequence_tokens = site.groups;
  s.group_sequences.assign(site.groups.size(), 1);
  s.group_capacity.assign(site.groups.size(), s.capacity);
  s.prompt_tokens.assign(site.groups.size(), 1);
  s.tasks = 1, s.sequence_task.assign(site.groups.size(), 0);
  s.task_width = s.instruction_width = 4;
  s.vocabulary = site.vocabulary;
  return s;
}

Setting setting_of(const Promise& p, const OracleSite& site, const OptionText& more) {
  // The plans of thousands of tokens are looked at: the first call of each kind is enough for the checked layer here.
  return {p.options(more), shape_of(site), SWY_SITE_FFN, p.context.seed, Checking::kFirst, p.value_or("progress", 0.0)};
}

std::string option_text(const Json& v) { return v.is_string() ? v.get<std::string>() : v.dump(); }

}  // namespace

Promise::Promise(const swy_router& r, const Json& given, const CaseContext& c) : router(r), context(c), given_(given) {
  if (!given_.is_object()) fail("router.json: a claim is an object of parameters, not ", given_.dump());
}

OptionText Promise::options(const OptionText& more) const {
  OptionText text;
  const Json given = has("options") ? value("options") : Json::object();
  for (const auto& [name, v] : given.items()) text[name] = option_text(v);
  for (const auto& [name, v] : more) text[name] = v;
  return text;
}

bool Promise::has(const std::string& parameter) const {
  read_.insert(parameter);
  return given_.contains(parameter);
}

Json Promise::value(const std::string& parameter) const {
  if (!has(parameter)) fail("router.json: this property needs the parameter '", parameter, "'");
  return given_.at(parameter);
}

std::vector<int32_t> Promise::phases() const {
  if (!has("phase")) return {SWY_TRAIN, SWY_SCORE};
  const std::string phase = as<std::string>("phase");
  if (phase != "train" && phase != "score") fail("router.json: 'phase' is \"train\" or \"score\", not ", phase);
  return {phase == "train" ? SWY_TRAIN : SWY_SCORE};
}

void Promise::all_read() const {
  const std::vector<std::string> known(read_.begin(), read_.end());
  for (const auto& [name, v] : given_.items())
    if (!read_.count(name)) fail("router.json: this property has no parameter '", name, "'", suggestion(name, known));
}

std::string Promise::where() const { return given_.empty() ? "" : cat(" [", given_.dump(), "]"); }

std::set<std::string> declared_oracles(const std::filesystem::path& files) {
  if (files.empty() || !std::filesystem::exists(files / "router.json")) return {};
  const Json j = read_json(files / "router.json");
  if (!j.is_object() || !j.contains("oracles")) return {};
  const Json& oracles = j["oracles"];
  std::set<std::string> names;
  bool well_formed = oracles.is_object() || oracles.is_array();
  for (const auto& [name, given] : oracles.items()) {
    if (oracles.is_object()) names.insert(name);
    if (oracles.is_array() && given.is_string()) names.insert(given.get<std::string>());
    if (oracles.is_array() && !given.is_string()) well_formed = false;
  }
  if (!well_formed)
    broken(kOracleRule, "router.json: 'oracles' is an array of names, or an object of names and what they need");
  return names;
}

Trial::Trial(const Promise& p, const OracleSite& site, const OptionText& more, Start start)
    : Rig(p.router, setting_of(p, site, more)), promise_(p) {
  for (uint32_t i = 0; start == Start::kPlain && i < needs().n_tensors; ++i) {
    const swy_tensor_spec& s = needs().tensors[i];
    std::fill(tensors[i].value.begin(), tensors[i].value.end(), s.init == SWY_INIT_CONST ? s.init_scale : 0.f);
  }
}

void Trial::identity(const std::string& name) {
  Held& h = tensor(name);
  const auto n = static_cast<size_t>(setting().shape.experts);
  if (h.value.size() != n * n || setting().shape.width != setting().shape.experts)
    promise_.fail("tensor '", name, "' of ", h.value.size(), " numbers is no square of E x E");
  for (size_t e = 0; e < n; ++e) h.value[e * n + e] = 1;
}

void Trial::set(const Matrix& rows) {
  const auto width = static_cast<size_t>(setting().shape.width);
  if (rows.size() * width != x.size()) promise_.fail("there are ", rows.size(), " rows for ", tokens(), " tokens");
  for (size_t t = 0; t < rows.size(); ++t)
    std::copy(rows[t].begin(), rows[t].end(), x.begin() + static_cast<std::ptrdiff_t>(t * width));
}

void Trial::draw(uint64_t seed, float size) {
  Random random(seed);
  for (float& v : x) v = size * (2 * random.uniform() - 1);
}

void Trial::draw(const std::string& name, uint64_t seed, float size) {
  Random random(seed);
  for (float& v : tensor(name).value) v = size * (2 * random.uniform() - 1);
}

const Plan& Trial::run(int32_t of_phase) {
  phase = of_phase;
  forward();
  plan_ = plan();
  return plan_;
}

void Trial::after_step() { update(std::vector<int32_t>(static_cast<size_t>(setting().shape.experts))); }

bool Trial::has_loss(const std::string& name) const {
  for (uint32_t i = 0; i < needs().n_aux; ++i)
    if (name == needs().aux[i].name) return true;
  return false;
}

size_t Trial::loss_index(const std::string& name) const {
  for (uint32_t i = 0; i < needs().n_aux; ++i)
    if (name == needs().aux[i].name) return i;
  promise_.fail("there is no loss '", name, "'");
}

double Trial::loss(const std::string& name) const { return plan_.aux.at(loss_index(name)); }

double Trial::metric(const std::string& name) const {
  for (uint32_t i = 0; i < needs().n_metrics; ++i)
    if (name == needs().metrics[i].name) return plan_.metric.at(i);
  promise_.fail("there is no metric '", name, "'");
}

PlanGrad Trial::only_loss(const std::string& name) const {
  PlanGrad d;
  d.aux.resize(needs().n_aux);
  d.aux.at(loss_index(name)) = 1;
  return d;
}

std::vector<std::vector<int>> Trial::experts() const {
  std::vector<std::vector<int>> of(static_cast<size_t>(tokens()));
  for (size_t i = 0; i < plan_.row.size(); ++i) of[static_cast<size_t>(plan_.row[i])].push_back(plan_.expert[i]);
  return of;
}

Matrix Trial::weights() const {
  Matrix of(static_cast<size_t>(tokens()));
  for (size_t i = 0; i < plan_.row.size(); ++i) of[static_cast<size_t>(plan_.row[i])].push_back(plan_.weight[i]);
  return of;
}

std::vector<int> Trial::loads() const { return loads(0, tokens()); }

std::vector<int> Trial::loads(int32_t from, int32_t to) const {
  std::vector<int> n(static_cast<size_t>(setting().shape.experts));
  for (size_t i = 0; i < plan_.row.size(); ++i)
    if (plan_.row[i] >= from && plan_.row[i] < to) ++n[static_cast<size_t>(plan_.expert[i])];
  return n;
}

Row Trial::row(int32_t token) const {
  const auto width = setting().shape.width;
  return {x.begin() + int64_t{token} * width, x.begin() + int64_t{token + 1} * width};
}

Row Trial::row_of(const std::string& name, int64_t r, int64_t columns) const {
  const std::vector<float>& v = const_cast<Trial*>(this)->tensor(name).value;
  return {v.begin() + r * columns, v.begin() + (r + 1) * columns};
}

Row softmax(Row z) {
  const double most = *std::max_element(z.begin(), z.end());
  double sum = 0;
  for (double& v : z) sum += v = std::exp(v - most);
  for (double& v : z) v /= sum;
  return z;
}

double dot(const Row& a, const Row& b) { return std::inner_product(a.begin(), a.end(), b.begin(), 0.0); }

void add(double factor, const Row& x, Row& y) {
  for (size_t i = 0; i < y.size(); ++i) y[i] += factor * x[i];
}

double sigmoid(double z) { return 1 / (1 + std::exp(-z)); }

std::vector<int> largest(const Row& z, int k) {
  std::vector<int> order(z.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return z[static_cast<size_t>(a)] > z[static_cast<size_t>(b)]; });
  order.resize(std::min(order.size(), static_cast<size_t>(k)));
  return order;
}

Row linear(const Row& x, const Row& matrix, const Row& bias) {
  const size_t n = matrix.size() / x.size();
  Row y = bias.empty() ? Row(n) : bias;
  for (size_t i = 0; i < x.size(); ++i)
    for (size_t j = 0; j < n; ++j) y[j] += x[i] * matrix[i * n + j];
  return y;
}

Matrix drawn_rows(size_t rows, size_t columns, uint64_t seed, float size) {
  Random random(seed);
  Matrix m(rows, std::vector<float>(columns));
  for (auto& row : m)
    for (float& v : row) v = size * (2 * random.uniform() - 1);
  return m;
}

Row to_row(const std::vector<float>& v) { return {v.begin(), v.end()}; }

}  // namespace swy::conform
