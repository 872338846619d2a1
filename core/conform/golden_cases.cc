// Is it the published router? (R20) Its golden.json holds inputs, and the plan and gradients that somebody else
// computed from them: the authors' code, a calculation by hand, or the scripts of core/conform/golden. Cases of kind
// "router" are whole routers; other kinds are read by the tests of the part they speak of.
//
//   name, source, options, width, experts, capacity, groups [tokens of each sequence], x, tensors {name: rows};
//   optional: group_sequences [sequences of each group; without it each is one], phase "train" | "score", step,
//   progress, site "ffn" | "block", mask [0 = padding], residual, task_embedding, sequence_task, tasks, vocabulary,
//   token_id, cluster; expected {pairs [[row, expert, weight], ... in list order], dispatch, combine, mix, output,
//   expert_x, aux {name: value}, metric {name: value}}, tolerance; optional: dplan {pairs [one number for each],
//   dispatch, combine, mix, output, expert_x} with gradient {x, residual, <tensor>}: what one backward call adds, the
//   declared weights of the auxiliary losses included; updates [{x, token_id, step, progress: what differs from the
//   step before; kept, dropped: [E] tokens; buffers {name: rows}: what forward and update leave}]
//
// Experts that a router runs by itself are those of the rig: y_d = (2 + e) / 4 x_d + x_d^2 / 5. Numbers that nobody can
// know, like what is added to the output of padding, are null.
#include <algorithm>
#include <cmath>

#include "core/base/files.h"
#include "core/conform/case.h"
#include "core/conform/rig.h"

namespace swy::conform {
namespace {

std::vector<float> flat(const Json& rows) {
  std::vector<float> values;
  auto add = [&values](const Json& v) { values.push_back(v.is_null() ? NAN : v.get<float>()); };
  for (const Json& row : rows) {
    if (row.is_array())
      for (const Json& v : row) add(v);
    else
      add(row);
  }
  return values;
}

OptionText option_texts(const Json& options) {
  OptionText text;
  for (const auto& [name, value] : options.items())
    text[name] = value.is_string() ? value.get<std::string>() : value.dump();
  return text;
}

Setting setting_of(const Json& g) {
  DrawnShape s;
  s.width = g.at("width"), s.experts = g.at("experts"), s.capacity = g.at("capacity");
  s.sequence_tokens = g.at("groups").get<std::vector<int32_t>>();
  const size_t n = s.sequence_tokens.size();
  s.group_sequences.assign(n, 1), s.prompt_tokens = s.sequence_tokens;
  if (g.contains("group_sequences")) s.group_sequences = g.at("group_sequences").get<std::vector<int32_t>>();
  s.group_capacity.assign(s.group_sequences.size(), s.capacity);
  if (g.contains("mask")) s.mask = g.at("mask").get<std::vector<uint8_t>>();
  s.vocabulary = g.value("vocabulary", s.vocabulary);
  s.sequence_task.assign(n, 0);
  if (g.contains("sequence_task")) s.sequence_task = g.at("sequence_task").get<std::vector<int32_t>>();
  s.tasks = 1 + *std::max_element(s.sequence_task.begin(), s.sequence_task.end());
  if (g.contains("task_embedding")) {
    s.tasks = static_cast<int32_t>(g.at("task_embedding").size());
    s.task_width = static_cast<int32_t>(g.at("task_embedding").at(0).size());
  }
  if (g.contains("tasks")) s.tasks = g.at("tasks");
  const bool block = g.value("site", "ffn") == "block";
  return {option_texts(g.value("options", Json::object())), s, block ? SWY_SITE_BLOCK : SWY_SITE_FFN};
}

class Vector {  // one case of a golden file on one router
 public:
  Vector(const swy_router& router, const Json& given)
      : given_(given), name_(given.at("name")), tolerance_(given.at("tolerance")), rig_(router, setting_of(given)) {
    take("x", given.at("x"), rig_.x);
    if (given.contains("residual")) take("residual", given.at("residual"), rig_.residual);
    if (given.contains("task_embedding")) take("task_embedding", given.at("task_embedding"), rig_.task_embedding);
    for (const auto& [tensor, rows] : given.at("tensors").items()) take(tensor, rows, rig_.tensor(tensor).value);
    if (given.contains("cluster")) ids("cluster", given.at("cluster"), rig_.cluster);
    rig_.phase = given.value("phase", "train") == "score" ? SWY_SCORE : SWY_TRAIN;
    moment(given);
  }

  // How many numbers were compared.
  size_t run() {
    rig_.forward();
    plan_ = rig_.plan();
    for (const auto& [what, expected] : given_.at("expected").items()) {
      if (what == "aux")
        aux(expected);
      else if (what == "pairs")
        pairs(expected);
      else if (what == "dispatch")
        numbers(what, flat(expected), plan_.dispatch);
      else if (what == "combine")
        numbers(what, flat(expected), plan_.combine);
      else if (what == "mix")
        numbers(what, flat(expected), plan_.mix);
      else if (what == "output")
        numbers(what, flat(expected), plan_.output.empty() ? output() : plan_.output);
      else if (what == "expert_x")
        numbers(what, flat(expected), plan_.expert_x);
      else if (what == "metric")
        metrics(expected);
      else
        environment_error("golden case '", name_, "': cannot compare \"", what, "\"");
    }
    if (given_.contains("gradient")) gradient();
    for (const Json& next : given_.value("updates", Json::array())) update(next);
    return compared_;
  }
  double worst() const { return worst_; }  // of the tolerance

 private:
  void take(const std::string& what, const Json& rows, std::vector<float>& to) const {
    const std::vector<float> values = flat(rows);
    if (values.size() != to.size())
      environment_error("golden case '", name_, "': ", what, " has ", values.size(), " numbers, the router has ",
                        to.size());
    to = values;
  }
  void ids(const std::string& what, const Json& given, std::vector<int32_t>& to) const {
    const auto values = given.get<std::vector<int32_t>>();
    if (values.size() != to.size())
      environment_error("golden case '", name_, "': ", what, " has ", values.size(), " entries for ", to.size(),
                        " tokens");
    to = values;
  }
  // What may differ from step to step.
  void moment(const Json& given) {
    if (given.contains("token_id")) ids("token_id", given.at("token_id"), rig_.token_id);
    rig_.step = given.value("step", rig_.step);
    rig_.progress = given.value("progress", rig_.progress);
  }
  void update(const Json& next) {
    if (next.contains("x")) take("x", next.at("x"), rig_.x);
    moment(next);
    rig_.forward();
    rig_.update(next.at("kept").get<std::vector<int32_t>>(), next.value("dropped", std::vector<int32_t>{}));
    for (const auto& [buffer, rows] : next.at("buffers").items()) {
      const std::vector<float>& got = rig_.tensor(buffer).value;
      if (flat(rows).size() != got.size())
        broken("R20", "golden case '", name_, "': ", buffer, " has ", got.size(), " numbers, expected ",
               flat(rows).size());
      numbers(cat(buffer, " after update ", updated_), flat(rows), got);
    }
    ++updated_;
  }
  void near(const std::string& what, double want, double got) {
    if (std::isnan(want)) return;  // null
    ++compared_;
    const double error = std::fabs(want - got) / tolerance_;
    worst_ = std::max(worst_, error);
    if (!(error <= 1))
      broken("R20", "golden case '", name_, "': ", what, " is ", got, ", expected ", want, " +- ", tolerance_);
  }
  // `want` may be the first rows only.
  void numbers(const std::string& what, const std::vector<float>& want, const std::vector<float>& got) {
    if (want.size() > got.size() || want.empty())
      broken("R20", "golden case '", name_, "': ", what, " has ", got.size(), " numbers, expected ", want.size());
    for (size_t i = 0; i < want.size(); ++i) near(cat(what, "[", i, "]"), want[i], got[i]);
  }
  void aux(const Json& expected) {
    const swy_needs& n = rig_.needs();
    if (expected.size() != n.n_aux)
      broken("R20", "golden case '", name_, "': there are ", n.n_aux, " auxiliary losses, expected ", expected.size());
    for (uint32_t i = 0; i < n.n_aux; ++i) {
      if (!expected.contains(n.aux[i].name))
        broken("R20", "golden case '", name_, "': unexpected loss '", n.aux[i].name, "'");
      near(n.aux[i].name, expected.at(n.aux[i].name), plan_.aux[i]);
    }
  }
  void metrics(const Json& expected) {
    for (const auto& [name, value] : expected.items()) {
      uint32_t i = 0;
      while (i < rig_.needs().n_metrics && name != rig_.needs().metrics[i].name) ++i;
      if (i == rig_.needs().n_metrics) broken("R20", "golden case '", name_, "': there is no metric '", name, "'");
      near(name, value, plan_.metric[i]);
    }
  }
  void pairs(const Json& expected) {
    if (expected.size() != plan_.row.size())
      broken("R20", "golden case '", name_, "': the list has ", plan_.row.size(), " entries, expected ",
             expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      const int32_t row = expected[i][0], expert = expected[i][1];
      if (row != plan_.row[i] || expert != plan_.expert[i])
        broken("R20", "golden case '", name_, "': entry ", i, " sends row ", plan_.row[i], " to expert ",
               plan_.expert[i], ", expected row ", row, " to expert ", expert);
      near(cat("weight ", i), expected[i][2], plan_.weight[i]);
    }
  }
  // What experts that return their input make of a DENSE plan: C D^T x, group by group.
  std::vector<float> output() const {
    const DrawnShape& shape = rig_.setting().shape;
    const auto d = static_cast<size_t>(shape.width), tokens = static_cast<size_t>(shape.tokens());
    const size_t slots = plan_.combine.size() / tokens;
    std::vector<float> y(tokens * d);
    size_t begin = 0;
    for (const int32_t n : shape.sequence_tokens) {
      const size_t end = begin + static_cast<size_t>(n);
      for (size_t s = begin; s < end; ++s)
        for (size_t j = 0; j < slots; ++j)
          for (size_t u = begin; u < end; ++u)
            for (size_t c = 0; c < d; ++c)
              y[s * d + c] += plan_.combine[s * slots + j] * plan_.dispatch[u * slots + j] * rig_.x[u * d + c];
      begin = end;
    }
    return y;
  }
  void gradient() {
    PlanGrad w;
    const Json none = Json::object(), dplan = given_.value("dplan", none);
    auto part = [&](const char* what, std::vector<float>& to) {
      if (dplan.contains(what)) to = flat(dplan.at(what));
    };
    part("pairs", w.weight), part("dispatch", w.dispatch), part("combine", w.combine), part("mix", w.mix);
    part("output", w.output), part("expert_x", w.expert_x);
    for (uint32_t i = 0; i < rig_.needs().n_aux; ++i) w.aux.push_back(static_cast<float>(rig_.needs().aux[i].weight));
    rig_.zero_grads();
    rig_.backward(w);
    for (const auto& [what, rows] : given_.at("gradient").items()) {
      const std::vector<float>& got = what == "x"          ? rig_.dx
                                      : what == "residual" ? rig_.dresidual
                                                           : rig_.tensor(what).grad;
      if (flat(rows).size() != got.size())
        broken("R20", "golden case '", name_, "': the gradient of ", what, " has ", got.size(), " numbers, expected ",
               flat(rows).size());
      numbers("gradient of " + what, flat(rows), got);
    }
  }

  const Json& given_;
  const std::string name_;
  const double tolerance_;
  Rig rig_;
  Plan plan_;
  size_t compared_ = 0, updated_ = 0;
  double worst_ = 0;
};

void gives_the_numbers(const Subject& s, const CaseContext& c) {
  const std::filesystem::path file = s.files / "golden.json";
  if (s.files.empty() || !std::filesystem::exists(file)) skip("it has no golden.json (--files says where to look)");
  const Json golden = read_json(file);
  size_t vectors = 0, compared = 0;
  double worst = 0;
  for (const Json& given : golden.at("cases")) {
    if (given.at("kind") != "router") continue;
    if (given.value("source", "").empty())
      broken("R20", "golden case '", given.at("name").get<std::string>(), "' does not say where its numbers are from");
    Vector v(*s.router, given);
    compared += v.run(), ++vectors;
    worst = std::max(worst, v.worst());
  }
  if (vectors == 0) skip("its golden.json has no case of kind \"router\"");
  c.note("vectors", vectors);
  c.note("numbers", compared);
  c.note("worst_of_tolerance", worst);
}

}  // namespace

std::vector<Case> golden_cases() {
  return {
      {"correct.golden", "correct", "R20", "Plan and gradients equal the numbers of golden.json.", gives_the_numbers}};
}

}  // namespace swy::conform
